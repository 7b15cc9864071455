//! The path to the runtime crate in the expansion.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{LitStr, Path, parse::Parser as _};

/// The path to the runtime crate. The path is `::sse_runtime` unless the `crate` key sets another
/// path.
pub(crate) struct Runtime {
    path: Path,
    is_renamed: bool,
}

/// The short name for `__private` inside an expansion.
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

    /// Returns the `use` item that imports `__private` under its short name. The `use` item belongs
    /// at the top of the block that contains the expansion.
    ///
    /// If the `crate` key sets another path, the `use` item is omitted, and the expansion contains
    /// the full path everywhere. If a path does not exist, the compiler reports it only once, no
    /// matter how often the path appears. A failing import would be an additional error.
    pub(crate) fn import(&self) -> Option<TokenStream> {
        let (path, private) = (&self.path, Ident::new(PRIVATE, Span::call_site()));
        (!self.is_renamed).then(|| quote!(use #path::__private as #private;))
    }

    /// Returns the path to the `__private` module for an expression that the compiler underlines at
    /// `span`.
    ///
    /// The compiler underlines an expression from its first to its last token, so the leading `::`
    /// of a path needs this span too. The names keep their own spans so that a missing crate is
    /// reported only once.
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

    /// Returns the path to the `__private` module for code that never causes a compiler error.
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

/// Parses the value of the `crate` key.
pub(crate) fn runtime_path(value: TokenStream) -> syn::Result<Path> {
    let path = match syn::parse2::<LitStr>(value.clone()) {
        Ok(text) => text.parse_with(Path::parse_mod_style),
        Err(_) => Path::parse_mod_style.parse2(value.clone()),
    };
    let Ok(path) = path else {
        return Err(syn::Error::new_spanned(
            value,
            "expected the path to the crate, such as `crate = ::sse_runtime`",
        ));
    };
    // A `$crate` from a `macro_rules!` is a single identifier here.
    let first = path.segments[0].ident.to_string();
    let absolute = path.leading_colon.is_some() || first == "crate" || first == "$crate";
    if absolute {
        return Ok(path);
    }
    let given = path.to_token_stream().to_string().replace(' ', "");
    let way_out = match &*first {
        // Neither can follow `::` or `crate::`.
        "self" | "super" => "write a path that begins with `crate::`".to_owned(),
        _ => format!("write `::{given}` or `crate::{given}`"),
    };
    Err(syn::Error::new_spanned(
        path,
        format_args!("`{given}` is a relative path; {way_out}"),
    ))
}

/// Returns the name of the variable that holds the yielder. The name is hygienic, so the user's
/// code cannot access the variable.
pub(crate) fn yielder(at: Span) -> Ident {
    Ident::new("__stream", internal_span(at))
}

/// Returns a span for generated code. Diagnostics point at `at`, but lints and name resolution
/// treat the code as part of the macro.
pub(crate) fn internal_span(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}
