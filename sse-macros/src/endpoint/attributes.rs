//! Assigns each of the function's attributes, other than `#[sse_endpoint]` itself, to one of the
//! two functions in the expansion.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{Attribute, Meta, spanned::Spanned as _};

use crate::support::docs::docs;

/// The user's attributes, split between the two functions in the expansion.
pub(crate) struct Attributes {
    /// Attributes on the function that replaces the user's function. These attributes are visible
    /// to callers, rustdoc and lints.
    pub(crate) outer: Vec<Attribute>,
    /// Attributes on the user's function, which is nested inside the outer function.
    inner: Vec<Attribute>,
}

/// The attributes that belong to the outer function.
const OUTER: [&str; 10] = [
    "doc",
    "cfg",
    "deprecated",
    "allow",
    "expect",
    "warn",
    "deny",
    "forbid",
    "must_use",
    "cfg_attr",
];

/// Returns `true` if an attribute belongs to the outer function.
pub(crate) fn stays_outside(meta: &Meta) -> bool {
    OUTER.iter().any(|name| meta.path().is_ident(name))
}

impl Attributes {
    pub(crate) fn split(attributes: &[Attribute]) -> Self {
        let attributes = attributes.iter().cloned();
        let (outer, inner) = attributes.partition(|attribute| stays_outside(&attribute.meta));
        let mut split = Self { outer, inner };
        for attribute in split.outer.iter_mut().chain(&mut split.inner) {
            attribute.style = syn::AttrStyle::Outer;
        }
        split
    }

    /// Returns the attributes for the user's function. Adjusts `#[instrument]` so that it skips the
    /// yielder argument.
    pub(crate) fn inner(&self, yielder: &Ident) -> impl Iterator<Item = TokenStream> {
        self.inner
            .iter()
            .map(move |attribute| skip_yielder(attribute, yielder))
    }

    pub(crate) fn is_deprecated(&self) -> bool {
        let mut paths = self.outer.iter().map(Attribute::path);
        paths.any(|path| path.is_ident("deprecated"))
    }

    pub(crate) fn docs(&self) -> String {
        docs(&self.outer)
    }
}

/// Adds the yielder to the `skip(…)` list of `#[instrument]`. By default, `#[instrument]` records
/// every argument.
fn skip_yielder(attribute: &Attribute, yielder: &Ident) -> TokenStream {
    let is_instrument = attribute
        .path()
        .segments
        .last()
        .is_some_and(|last| last.ident == "instrument");
    if !is_instrument {
        return attribute.to_token_stream();
    }
    let path = attribute.path();
    let tokens = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    let mut out = TokenStream::new();
    let mut skips = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is = |name: &str| matches!(&token, TokenTree::Ident(ident) if ident == name);
        skips |= is("skip_all");
        if is("skip")
            && let Some(TokenTree::Group(group)) = tokens.peek().cloned()
        {
            tokens.next();
            skips = true;
            let skipped = group.stream();
            out.extend(quote!(#token(#yielder, #skipped)));
        } else {
            out.extend([token]);
        }
    }
    if !skips {
        let comma = (!out.is_empty()).then(|| quote!(,));
        out = quote!(skip(#yielder) #comma #out);
    }
    quote_spanned!(attribute.span()=> #[#path(#out)])
}
