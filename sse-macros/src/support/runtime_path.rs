//! The path of the runtime, as expanded code writes it.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{LitStr, Path, parse::Parser as _};

/// `::sse_runtime`, or what the key `crate` says.
pub(crate) struct Runtime(Path);

impl Runtime {
    pub(crate) fn new(renamed: Option<&Path>) -> Self {
        Self(
            renamed
                .cloned()
                .unwrap_or_else(|| syn::parse_quote!(::sse_runtime)),
        )
    }

    /// The module that expanded code calls, for an expression that the compiler is to underline as `span`.
    ///
    /// An expression is underlined from its first token to its last, so the leading `::` takes the span too. The names
    /// keep theirs: a crate that is not found is one error then, however often it is named.
    pub(crate) fn private(&self, span: Span) -> TokenStream {
        let path = self.0.to_token_stream().into_iter().map(|mut token| {
            let is_name = matches!(&token, TokenTree::Ident(name) if name != "crate");
            if !is_name {
                token.set_span(span);
            }
            token
        });
        let path = path.collect::<TokenStream>();
        quote_spanned!(span=> #path::__private)
    }

    /// The same, where nobody will look at it.
    pub(crate) fn internals(&self) -> TokenStream {
        quote!(#self::__private)
    }
}

impl ToTokens for Runtime {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
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
