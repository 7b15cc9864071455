//! The path of the runtime, as expanded code writes it.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{LitStr, Path, parse::Parser as _};

/// The path of the runtime: `::sse_runtime`, or the value of the key `crate`.
pub(crate) struct Runtime {
    path: Path,
    is_renamed: bool,
}

/// The name of `__private` inside an expansion.
const PRIVATE: &str = "__sse";

impl Runtime {
    pub(crate) fn new(renamed: Option<&Path>) -> Self {
        Self {
            path: renamed
                .cloned()
                .unwrap_or_else(|| syn::parse_quote!(::sse_runtime)),
            is_renamed: renamed.is_some(),
        }
    }

    /// The import that gives `__private` a short name, for the top of the block that holds the expansion.
    ///
    /// A path from the key `crate` is written out each time instead. If it isn't found, all its mentions are one and the
    /// same error; an import that fails would be a second one.
    pub(crate) fn import(&self) -> Option<TokenStream> {
        let (path, private) = (&self.path, Ident::new(PRIVATE, Span::call_site()));
        (!self.is_renamed).then(|| quote!(use #path::__private as #private;))
    }

    /// The module `__private`, for an expression that the compiler underlines as `span`.
    ///
    /// An expression is underlined from its first token to its last, so the leading `::` of a path has the span too. The
    /// names keep theirs, so that a crate that isn't found is one error.
    pub(crate) fn private(&self, span: Span) -> TokenStream {
        if !self.is_renamed {
            return Ident::new(PRIVATE, span).into_token_stream();
        }
        let path = self.path.to_token_stream().into_iter().map(|mut token| {
            let is_name = matches!(&token, TokenTree::Ident(name) if name != "crate");
            if !is_name {
                token.set_span(span);
            }
            token
        });
        let path = path.collect::<TokenStream>();
        quote_spanned!(span=> #path::__private)
    }

    /// The module `__private`, for code in which the compiler finds no errors.
    pub(crate) fn internals(&self) -> TokenStream {
        match self.is_renamed {
            true => quote!(#self::__private),
            false => self.private(Span::call_site()),
        }
    }
}

impl ToTokens for Runtime {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.path.to_tokens(tokens);
    }
}

/// Reads the value of the key `crate`.
pub(crate) fn runtime_path(value: TokenStream) -> syn::Result<Path> {
    let path = match syn::parse2::<LitStr>(value.clone()) {
        Ok(text) => text.parse_with(Path::parse_mod_style),
        Err(_) => Path::parse_mod_style.parse2(value.clone()),
    };
    let Ok(path) = path else {
        return Err(syn::Error::new_spanned(
            value,
            "expected the path of the crate: `crate = ::sse_runtime`",
        ));
    };
    // `$crate`, as a macro of the user's own says it, is one word here.
    let first = path.segments[0].ident.to_string();
    let absolute = path.leading_colon.is_some() || first == "crate" || first == "$crate";
    if absolute {
        return Ok(path);
    }
    let given = path.to_token_stream().to_string().replace(' ', "");
    Err(syn::Error::new_spanned(
        path,
        format_args!(
            "`{given}` depends on what is in scope; write `::{given}`, or `crate::{given}`"
        ),
    ))
}

/// The name of the yielder, which no code of the user's can say, at a place in it.
pub(crate) fn yielder(at: Span) -> Ident {
    Ident::new("__stream", internal_span(at))
}

/// Our code at the user's place: messages point there, lints and names know that it is ours.
pub(crate) fn internal_span(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}
