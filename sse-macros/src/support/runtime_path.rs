//! The path of the runtime crate in expanded code.

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

    /// The import that gives `__private` its short name, for the top of the block that contains the
    /// expansion.
    ///
    /// If the key `crate` renames the runtime, its path is written out every time instead: a path
    /// that isn't found is reported once, however often it occurs, but a failing import would be a
    /// second error.
    pub(crate) fn import(&self) -> Option<TokenStream> {
        let (path, private) = (&self.path, Ident::new(PRIVATE, Span::call_site()));
        (!self.is_renamed).then(|| quote!(use #path::__private as #private;))
    }

    /// The module `__private`, for an expression that the compiler underlines at `span`.
    ///
    /// The compiler underlines an expression from its first to its last token, so the leading `::`
    /// of a path needs the span too. The names keep their own spans, so that a crate that isn't
    /// found is reported once.
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

    /// The module `__private`, for code in which the compiler never reports an error.
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

/// Parses the value of the key `crate`.
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
    // A `$crate` that comes from a `macro_rules!` is a single identifier here.
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

/// The variable that holds the yielder. Its hygiene keeps it out of reach of the user's code.
pub(crate) fn yielder(at: Span) -> Ident {
    Ident::new("__stream", internal_span(at))
}

/// A span for generated code: messages point at `at`, while lints and name resolution treat the
/// code as the macro's own.
pub(crate) fn internal_span(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}
