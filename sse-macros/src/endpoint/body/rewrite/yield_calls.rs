//! Rewrites `yield_!`, `yield_all!` and the `yield` keyword.

use proc_macro2::{Delimiter, Group, Ident, TokenStream};
use quote::{ToTokens as _, quote};
use syn::{
    Expr, ExprYield, Item, Macro, UnOp, parse_quote_spanned, spanned::Spanned as _,
    visit_mut::VisitMut as _,
};

use super::{BodyRewriter, Scope};
use crate::{
    endpoint::body::{
        facts::is_call_of,
        tokens,
        yields::{Operand, YIELD, YIELD_ALL, Yield, arity, leaves_its_type_open, operand},
    },
    support::runtime_path::internal_span,
};

impl BodyRewriter<'_> {
    /// Returns the replacement for a call to `yield_!` or `yield_all!`.
    pub(super) fn rewrite_yield(&mut self, call: Yield, mac: &Macro) -> Expr {
        self.facts.yields = true;
        let refused = self.refusal(call);
        let (operand, refused) = match mac.parse_body_with(operand) {
            Ok(Operand::None) => (None, refused.or(Some(arity(call).to_owned()))),
            Ok(Operand::One(operand)) => (Some(operand), refused),
            Ok(Operand::More(operand)) => (Some(operand), refused.or(Some(arity(call).to_owned()))),
            // The compiler reports the syntax error. Keep the tokens so that editors can complete
            // them.
            Err(_) => (Some(Expr::Verbatim(mac.tokens.clone())), refused),
        };
        match (operand, refused) {
            (Some(operand), None) => self.hand_over(call, operand, mac),
            (operand, refused) => {
                if let Some(problem) = refused {
                    self.errors.at(mac, problem);
                }
                discard(operand)
            }
        }
    }

    fn hand_over(&mut self, call: Yield, mut operand: Expr, mac: &Macro) -> Expr {
        let is_open = leaves_its_type_open(&operand);
        self.visit_expr_mut(&mut operand);
        let Some(form) = self.form else {
            return discard(Some(operand));
        };
        if call == Yield::One
            && form.stream_fails()
            && let Some(problem) = result_problem(&operand)
        {
            self.errors.at(&operand, problem);
            return discard(Some(operand));
        }
        let at = mac.path.span();
        let mut parentheses = Group::new(Delimiter::Parenthesis, operand.to_token_stream());
        parentheses.set_span(match operand {
            // The operand may be incomplete, so report the error at the delimiters.
            Expr::Verbatim(_) => mac.delimiter.span().join(),
            _ => internal_span(at),
        });
        Expr::Verbatim(call.write(&parentheses, is_open, form, self.runtime, at))
    }

    /// Returns a message that explains why this scope cannot yield, or `None` if it can.
    fn refusal(&self, call: Yield) -> Option<String> {
        let name = call.name();
        let problem = match self.scope {
            Scope::Endpoint => return None,
            Scope::Closure => format!(
                "a closure is not part of the generator, so it cannot use `{name}!`; use a loop, or collect the values first"
            ),
            Scope::AsyncBlock => format!(
                "an `async` block is a separate future, so it cannot use `{name}!`; `.await` the block, and yield its output"
            ),
            Scope::Spawned => format!(
                "a spawned task is not part of the generator, so it cannot use `{name}!`; send the values through a channel, and yield them in the endpoint"
            ),
        };
        Some(problem)
    }

    pub(super) fn rewrite_yield_keyword(&mut self, expr: &ExprYield) -> Expr {
        // `yield!(value)` parses as `yield` with the operand `!(value)`, but the user meant
        // `value`.
        let value = expr.expr.as_deref().map(|value| match value {
            Expr::Unary(not) => match (not.op, &*not.expr) {
                (UnOp::Not(_), Expr::Paren(paren)) => paren.expr.to_token_stream(),
                _ => value.to_token_stream(),
            },
            value => value.to_token_stream(),
        });
        if !cfg!(nightly) {
            let spelled = value
                .as_ref()
                .map_or("…".to_owned(), TokenStream::to_string);
            self.errors.at(
                expr.yield_token,
                format_args!("`yield` is unstable; use `yield_!({spelled})` instead"),
            );
        }
        let name = Ident::new(YIELD, expr.yield_token.span());
        let mac: Macro = parse_quote_spanned!(name.span()=> #name!(#value));
        self.rewrite_yield(Yield::One, &mac)
    }

    /// Reports yields inside a nested item, which isn't part of the generator.
    pub(super) fn refuse_yields_of(&mut self, item: &mut Item) {
        let names = [YIELD.to_owned(), YIELD_ALL.to_owned()];
        let Some(span) = tokens::find_call(item.to_token_stream(), &names) else {
            return;
        };
        self.facts.yields = true;
        let owner = match item {
            Item::Fn(function) => format!("`{}`", function.sig.ident),
            _ => "a nested item".to_owned(),
        };
        self.errors.at_span(
            span,
            format_args!(
                "`yield_!` can only be used in the endpoint itself, not in {owner}\n\
                 help: return the values, and yield them in `{}`",
                self.endpoint
            ),
        );
        *item = Item::Verbatim(tokens::without_calls(item.to_token_stream(), &names));
    }
}

/// Returns the message for a literal `Ok(…)` or `Err(…)`, which a stream that can fail must not
/// yield. In a stream that cannot fail, the item itself might be a `Result`. Such calls are not
/// reported, because only the compiler knows the item's type.
fn result_problem(operand: &Expr) -> Option<&'static str> {
    if is_call_of(operand, "Err") {
        Some("an error ends the stream; write `return Err(…);` instead of this `yield_!`")
    } else if is_call_of(operand, "Ok") {
        Some("yield the value itself, without `Ok`; return errors with `?` or `return Err(…)`")
    } else {
        None
    }
}

/// Returns the replacement for a rejected call. The replacement still contains the operand, so the
/// names in the operand are resolved and count as used.
fn discard(operand: Option<Expr>) -> Expr {
    let operand = operand.map(|operand| quote!(let _ = #operand;));
    Expr::Verbatim(quote!({ #operand }))
}
