//! Finds a `yield_!` that begins the response before a `?` that could otherwise have set the
//! status.
//!
//! If the response and the stream have the same error type, the compiler accepts such code, but the
//! error from the `?` becomes an event instead of a status.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{
    Expr, ExprReturn, Item, Macro, Stmt,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::endpoint::body::{
    facts::{is_call_of, yield_predicate},
    known_macros::{KNOWN_MACROS, TOKIOS_MACROS},
    tokens::{self, ExitTokens},
    yields::Yield,
};

/// Returns the span of the first `yield_!` if a statement between it and the next `yield_!` can
/// fail.
///
/// Only a `yield_!` in the function's outermost block counts. If the first `yield_!` is in a loop
/// or a branch, the code after the loop or branch is assumed to be part of the stream.
pub(crate) fn early_yield(statements: &[Stmt]) -> Option<Span> {
    let yields = yield_predicate(statements);
    let mut rest = statements.iter().skip_while(|statement| !yields(statement));
    let Stmt::Macro(first) = rest.next()? else {
        return None;
    };
    first.mac.path.get_ident().and_then(Yield::named)?;
    let mut can_fail = false;
    for statement in rest {
        if yields(statement) {
            return can_fail.then(|| first.mac.path.span());
        }
        let mut exits = Exits::default();
        exits.visit_stmt(statement);
        if exits.unknown {
            return None;
        }
        can_fail |= exits.fails;
    }
    None
}

/// The ways in which a statement can leave the endpoint.
#[derive(Default)]
struct Exits {
    /// A `?` or a `return Err(…)`.
    fails: bool,
    /// An unknown macro, which might do anything.
    unknown: bool,
}

impl<'ast> Visit<'ast> for Exits {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Closure(_) | Expr::Async(_) => return,
            Expr::Try(_) => self.fails = true,
            Expr::Return(ExprReturn {
                expr: Some(value), ..
            }) => self.fails |= is_call_of(value, "Err"),
            _ => {}
        }
        visit::visit_expr(self, expr);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        let name = name.unwrap_or_default();
        let known = KNOWN_MACROS.iter().chain(&TOKIOS_MACROS);
        self.unknown |= !known.clone().any(|known| *known == name);
        tokens::rewrite(call.tokens.clone(), self);
    }

    fn visit_item(&mut self, _: &'ast Item) {}
}

/// Records the exits in a macro's tokens without changing the tokens. The rewritten tokens are
/// discarded.
impl ExitTokens for Exits {
    fn on_return(&mut self, token: Ident, operand: TokenStream) -> TokenStream {
        let value = syn::parse2::<Expr>(operand.clone());
        self.fails |= value.is_ok_and(|value| is_call_of(&value, "Err"));
        quote::quote!(#token #operand)
    }

    fn on_try(&mut self, question: TokenTree) -> TokenStream {
        self.fails = true;
        question.into()
    }

    fn on_yield(&mut self, _: Yield, mac: Macro) -> TokenStream {
        mac.into_token_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_early(code: &str) -> bool {
        let block: syn::Block = syn::parse_str(code).unwrap();
        early_yield(&block.stmts).is_some()
    }

    #[test]
    fn failure_after_the_first_yield_is_reported() {
        for code in [
            "{ yield_!(1); let a = load().await?; yield_!(a); }",
            "{ let a = 1; yield_all!(a); if a { return Err(b); } yield_!(2); }",
            "{ yield_!(1); let (a, b) = tokio::try_join!(a, b)?; loop { yield_!(a); } }",
            "{ yield_!(1); tokio::select! { a = b() => a?, } while a { yield_!(1); } }",
            "{ yield_!(1); tokio::select! { a = b() => return Err(a), } yield_!(1); }",
            "{ yield_!(1); let Some(a) = b else { return Err(c) }; work(); yield_!(a); }",
        ] {
            assert!(is_early(code), "{code}");
        }
    }

    #[test]
    fn failure_inside_the_stream_is_not_reported() {
        for code in [
            "{ let a = load().await?; yield_!(a); }",
            "{ yield_!(1); yield_!(load().await?); }",
            "{ yield_!(1); load().await?; }",
            "{ yield_!(1); loop { let a = load().await?; yield_!(a); } }",
            "{ yield_!(1); yield_!(2); load()?; yield_!(3); }",
            "{ while a { yield_!(1); } load()?; yield_!(2); }",
            "{ if a { yield_!(1); } load()?; yield_!(2); }",
            "{ yield_!(1); let a = || b?; yield_!(2); }",
            "{ yield_!(1); let a = async { b? }; yield_!(2); }",
            "{ yield_!(1); fn a() { b? } yield_!(2); }",
            "{ yield_!(1); if a { return; } yield_!(2); }",
            "{ yield_!(1); info!(?a); yield_!(2); }",
            "{ yield_!(1); emit!(2); load()?; yield_!(3); }",
            "{ emit!(1); load()?; yield_!(3); }",
        ] {
            assert!(!is_early(code), "{code}");
        }
    }
}
