//! Rewrites `return`, `?` and `.await`.
//!
//! An expression that contains an error is left unchanged. In that case, the function's return type
//! contains a `compile_error!`, so the compiler does not report follow-up errors.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, ExprAwait, ExprReturn, ExprTry};

use super::{BodyRewriter, Scope, Side};
use crate::endpoint::{
    body::facts::{is_call_of, is_literal},
    returns::Form,
};

impl BodyRewriter<'_> {
    /// Returns the replacement for a `return` without a value.
    fn finish(&self, token: Span) -> TokenStream {
        let private = self.runtime.internals();
        match self.form {
            None | Some(Form::Stream) => quote_spanned!(token=> return),
            Some(_) => quote_spanned!(token=>
                return ::core::result::Result::Ok(#private::End::END)
            ),
        }
    }

    /// Returns the path to the runtime function that handles an error at the current position. The
    /// function's name is `before` if the response has not begun yet, and `in_stream` otherwise.
    pub(super) fn side_function(&self, before: &str, in_stream: &str, at: Span) -> TokenStream {
        let name = match self.side {
            Side::BeforeResponse => before,
            Side::InStream => in_stream,
        };
        let (private, name) = (self.runtime.private(at), Ident::new(name, at));
        quote_spanned!(at=> #private::#name)
    }

    /// Reports `what` and returns `true` if errors are not allowed here.
    pub(super) fn refuses_errors(&mut self, at: impl ToTokens, what: &str) -> bool {
        let message = match (self.form, self.side) {
            (Some(Form::Stream), _) => format!(
                "{what} cannot end this stream, since its item is not a `Result` and the response has begun\n\
                 help: to send errors as events, make the item a `Result<T, E>`; to turn errors before the first \
                 `yield_!` into a status, return `Result<impl Stream<…>, E>`"
            ),
            (Some(Form::Response), Side::InStream) => format!(
                "{what} cannot set the status, since the response has begun\n\
                 help: to send errors as events, make the item a `Result<T, E>`; to set the status, move this before \
                 the first `yield_!`"
            ),
            _ => return false,
        };
        self.errors.at(at, message);
        true
    }

    pub(super) fn rewrite_return(&mut self, expr: &ExprReturn) -> Option<TokenStream> {
        let form = self.form?;
        let token = expr.return_token.span;
        let Some(value) = &expr.expr else {
            return Some(self.finish(token));
        };
        let is_err = is_call_of(value, "Err");
        if is_call_of(value, "Ok") || is_literal(value) || (form == Form::Stream && !is_err) {
            self.errors.at(
                expr,
                "`return` cannot have a value here; send values with `yield_!(…)`, and end the stream with `return;`",
            );
            return None;
        }
        if self.refuses_errors(expr, "`return Err(…)`") || form != Form::TryResponse {
            return None;
        }
        let side = self.side_function("return_before_response", "return_in_stream", token);
        Some(quote_spanned!(token=> return #side(#value)))
    }

    pub(super) fn rewrite_try(
        &mut self,
        ExprTry {
            expr: base,
            question_token,
            ..
        }: &mut ExprTry,
    ) {
        if self.scope != Scope::Endpoint || self.refuses_errors(*question_token, "`?`") {
            return;
        }
        if self.form == Some(Form::TryResponse) {
            **base = self.call(base, |rewriter, at| {
                rewriter.side_function("before_response", "in_stream", at)
            });
        }
    }

    /// Wraps `base` in a call to a runtime function. The compiler underlines the call exactly as it
    /// would underline `base`.
    fn call(&self, base: &Expr, function: impl FnOnce(&Self, Span) -> TokenStream) -> Expr {
        let (first, last) = ends(base);
        let function = function(self, first);
        let mut operand = Group::new(Delimiter::Parenthesis, base.to_token_stream());
        operand.set_span(last);
        Expr::Verbatim(quote!(#function #operand))
    }

    pub(super) fn rewrite_await(&self, ExprAwait { base, .. }: &mut ExprAwait) {
        **base = self.call(base, |rewriter, at| {
            let private = rewriter.runtime.private(at);
            quote_spanned!(at=> #private::guard)
        });
    }
}

/// Returns the spans of the first and the last token.
fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let mut tokens = tokens
        .to_token_stream()
        .into_iter()
        .map(|token| token.span());
    let first = tokens.next().unwrap_or_else(Span::call_site);
    (first, tokens.last().unwrap_or(first))
}
