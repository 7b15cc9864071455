//! Rewrites the statements according to the endpoint's form.
//!
//! `.await` becomes a cancellation point, and `yield_!` is expanded. A `return` without a value
//! returns the generator's output. If the endpoint can fail both before the response begins and in
//! the stream, `?` and `return Err(…)` are rewritten according to where they occur. Everything else
//! stays unchanged.

mod exits;
mod yield_calls;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{
    Expr, ExprAwait, ExprCall, ExprTry, Item, Macro, Stmt,
    visit_mut::{self, VisitMut},
};

use super::{
    known_macros::{KNOWN_MACROS, OWN_GENERATORS},
    tokens::{self, ExitTokens},
    yields::Yield,
};
use crate::{
    endpoint::returns::Form,
    support::{errors::Errors, runtime_path::Runtime},
};

/// Facts that the rewrite discovers about the body.
pub(super) struct YieldFacts {
    pub(super) yields: bool,
    /// Whether the body calls an unknown macro, which may contain a yield that the attribute cannot
    /// see.
    pub(super) has_unknown_macro: bool,
}

/// Rewrites the statements. `first_yield` is the index of the first statement that is part of the
/// stream.
pub(super) fn rewrite(
    statements: &mut [Stmt],
    first_yield: Option<usize>,
    form: Option<Form>,
    runtime: &Runtime,
    endpoint: &Ident,
    errors: &mut Errors,
) -> YieldFacts {
    let mut rewriter = BodyRewriter {
        form,
        runtime,
        errors,
        side: Side::BeforeResponse,
        scope: Scope::Endpoint,
        facts: YieldFacts {
            yields: false,
            has_unknown_macro: false,
        },
        endpoint: endpoint.to_string(),
    };
    for (at, statement) in statements.iter_mut().enumerate() {
        if form.is_none_or(|form| !form.has_prelude()) || first_yield == Some(at) {
            rewriter.side = Side::InStream;
        }
        rewriter.visit_stmt_mut(statement);
    }
    rewriter.facts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    BeforeResponse,
    InStream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The endpoint's own coroutine.
    Endpoint,
    Closure,
    AsyncBlock,
    /// The arguments of a call to `spawn`.
    Spawned,
}

struct BodyRewriter<'a> {
    /// `None` if the return type is unknown. In that case, errors that depend on the return type
    /// are not reported.
    form: Option<Form>,
    runtime: &'a Runtime,
    errors: &'a mut Errors,
    side: Side,
    scope: Scope,
    facts: YieldFacts,
    endpoint: String,
}

impl BodyRewriter<'_> {
    fn within(&mut self, scope: Scope, visit: impl FnOnce(&mut Self)) {
        // All code inside a spawned task counts as spawned, however deeply it is nested.
        let scope = match self.scope {
            Scope::Spawned => Scope::Spawned,
            _ => scope,
        };
        let outer = std::mem::replace(&mut self.scope, scope);
        visit(self);
        self.scope = outer;
    }

    fn visit_macro_call(&mut self, call: &mut Macro) -> Option<Expr> {
        match call.path.get_ident().and_then(Yield::named) {
            Some(name) => Some(self.rewrite_yield(name, call)),
            None => {
                self.visit_foreign_macro(call);
                None
            }
        }
    }

    /// Rewrites the tokens of a macro that is neither `yield_!` nor `yield_all!`.
    fn visit_foreign_macro(&mut self, call: &mut Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        let name = name.unwrap_or_default();
        self.facts.has_unknown_macro |= !KNOWN_MACROS.contains(&name.as_str());
        let is_ours = self.scope == Scope::Endpoint && !OWN_GENERATORS.contains(&name.as_str());
        if is_ours && self.form.is_some() {
            let tokens = std::mem::take(&mut call.tokens);
            call.tokens = tokens::rewrite(tokens, self);
        }
    }
}

impl ExitTokens for BodyRewriter<'_> {
    fn on_return(&mut self, token: Ident, operand: TokenStream) -> TokenStream {
        match syn::parse2::<Expr>(quote!(#token #operand)) {
            Ok(Expr::Return(expr)) => self
                .rewrite_return(&expr)
                .unwrap_or_else(|| expr.into_token_stream()),
            // These tokens look like a `return` but do not parse as one.
            _ => quote!(#token #operand),
        }
    }

    fn on_try(&mut self, question: TokenTree) -> TokenStream {
        if !self.refuses_errors(&question, "`?`") && self.form == Some(Form::TryResponse) {
            let at = question.span();
            let side = self.side_function("error_before_response", "error_in_stream", at);
            return quote_spanned!(at=> .map_err(#side) #question);
        }
        question.into()
    }

    fn on_yield(&mut self, call: Yield, mac: Macro) -> TokenStream {
        self.rewrite_yield(call, &mac).into_token_stream()
    }
}

impl VisitMut for BodyRewriter<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Closure(_) => self.within(Scope::Closure, |rewriter| {
                visit_mut::visit_expr_mut(rewriter, expr);
            }),
            Expr::Async(_) => self.within(Scope::AsyncBlock, |rewriter| {
                visit_mut::visit_expr_mut(rewriter, expr);
            }),
            // The compiler reports the missing `!`.
            Expr::Call(ExprCall { func, .. }) if matches!(&**func, Expr::Path(path) if path.path.get_ident().and_then(Yield::named).is_some()) =>
            {
                self.facts.yields = true;
            }
            Expr::Call(ExprCall { func, args, .. }) if is_spawn(func) => {
                self.visit_expr_mut(func);
                for arg in args {
                    match arg {
                        Expr::Async(_) | Expr::Closure(_) => {
                            self.within(Scope::Spawned, |rewriter| rewriter.visit_expr_mut(arg));
                        }
                        // Other arguments are evaluated before the task starts.
                        _ => self.visit_expr_mut(arg),
                    }
                }
            }
            Expr::Await(ExprAwait {
                base, await_token, ..
            }) if is_yield(base) => {
                self.errors.at(
                    *await_token,
                    "`yield_!` already awaits; remove this `.await`",
                );
                self.visit_expr_mut(base);
                *expr = (**base).clone();
            }
            Expr::Try(ExprTry {
                expr: base,
                question_token,
                ..
            }) if is_yield(base) => {
                self.errors
                    .at(*question_token, "`yield_!` cannot fail; remove this `?`");
                self.visit_expr_mut(base);
                *expr = (**base).clone();
            }
            Expr::Await(inner) => {
                self.visit_expr_mut(&mut inner.base);
                self.rewrite_await(inner);
            }
            Expr::Try(inner) => {
                self.visit_expr_mut(&mut inner.expr);
                self.rewrite_try(inner);
            }
            Expr::Return(inner) => {
                if let Some(value) = &mut inner.expr {
                    self.visit_expr_mut(value);
                }
                if self.scope == Scope::Endpoint
                    && let Some(rewritten) = self.rewrite_return(inner)
                {
                    let attributes = std::mem::take(&mut inner.attrs);
                    *expr = Expr::Verbatim(quote!(#(#attributes)* #rewritten));
                }
            }
            Expr::Yield(inner) => *expr = self.rewrite_yield_keyword(inner),
            Expr::Macro(call) => {
                if let Some(replacement) = self.visit_macro_call(&mut call.mac) {
                    let attributes = std::mem::take(&mut call.attrs);
                    *expr = Expr::Verbatim(quote!(#(#attributes)* #replacement));
                }
            }
            _ => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        if let Stmt::Macro(call) = statement {
            if let Some(block) = self.visit_macro_call(&mut call.mac) {
                // Omit the semicolon, because a block does not need one and the compiler would warn
                // about it.
                let attributes = std::mem::take(&mut call.attrs);
                *statement = Stmt::Expr(Expr::Verbatim(quote!(#(#attributes)* #block)), None);
            }
            return;
        }
        visit_mut::visit_stmt_mut(self, statement);
    }

    fn visit_item_mut(&mut self, item: &mut Item) {
        // A `macro_rules!` yields where it is called, not where it is defined.
        if !matches!(item, Item::Macro(_)) {
            self.refuse_yields_of(item);
        }
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        self.visit_foreign_macro(call);
    }

    // A macro in a type or a pattern cannot contain code that leaves the function.
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
}

/// Returns `true` if an expression is a call to `yield_!` or `yield_all!`.
fn is_yield(expr: &Expr) -> bool {
    matches!(expr, Expr::Macro(call) if call.mac.path.get_ident().and_then(Yield::named).is_some())
}

fn is_spawn(func: &Expr) -> bool {
    ["spawn", "spawn_blocking", "spawn_local"].iter().any(|spawn| {
        matches!(func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == spawn))
    })
}
