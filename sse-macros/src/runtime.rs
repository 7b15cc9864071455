//! The path of the runtime, as expanded code writes it.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::Path;

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

/// The name of the yielder, which no code of the user's can say, at a place in it.
pub(crate) fn yielder(at: Span) -> Ident {
    Ident::new("__stream", ours(at))
}

/// Our code at the user's place: messages point there, lints and names know that it is ours.
pub(crate) fn ours(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}
