//! The attributes beside ours: each goes where it belongs.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{Attribute, Expr, ExprLit, Lit, Meta, spanned::Spanned as _};

/// The attributes by where they belong.
pub(crate) struct Attributes {
    /// On the function that is left behind: what its callers, its docs and the lints see.
    pub(crate) outer: Vec<Attribute>,
    /// On the user's function inside.
    inner: Vec<Attribute>,
}

/// The attributes of the function that the macro emits.
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

/// Whether an attribute goes onto the function that the macro emits.
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

    /// Those on the user's function inside, which the yielder is no argument of for any of them.
    pub(crate) fn inner(&self, yielder: &Ident) -> impl Iterator<Item = TokenStream> {
        self.inner
            .iter()
            .map(move |attribute| skip_yielder(attribute, yielder))
    }

    /// The lines of the doc comment, as rustdoc joins them.
    pub(crate) fn docs(&self) -> String {
        let lines = self
            .outer
            .iter()
            .filter_map(|attribute| match &attribute.meta {
                Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(line),
                        ..
                    }) => Some(line.value()),
                    _ => None,
                },
                _ => None,
            });
        let lines: Vec<String> = lines
            .map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned())
            .collect();
        lines.join("\n")
    }
}

/// `#[instrument]` records every argument; the yielder is none of the user's.
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
