//! Finds async lock guards that are held across a `yield_!`. If the client is slow, the generator
//! waits at the `yield_!`, and every task that needs the lock must wait as well.
//!
//! A guard is recognized by the call that returns it, such as `….lock().await`. The lint tracks the
//! variable that holds the guard until the variable is dropped or moved, or until the variable's
//! block ends. A guard in the scrutinee of a `match`, `for`, `if let` or `while let` stays alive
//! for the whole block.

mod guard_call;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::{
    Block, Expr, ExprAsync, ExprCall, ExprClosure, ExprForLoop, ExprIf, ExprLet, ExprMatch,
    ExprMethodCall, ExprPath, ExprWhile, ExprYield, Item, Local, Macro, Pat, Stmt,
    visit::{self, Visit},
};

use self::guard_call::{Holds, guard_call};
use crate::endpoint::body::{
    tokens,
    yields::{Operand, YIELD, YIELD_ALL, Yield, operand},
};

/// A guard held across a `yield_!`.
pub(crate) struct HeldGuard {
    /// The span of the call that returned the guard.
    pub(crate) at: Span,
    /// The name of the method that returned the guard.
    pub(crate) call: String,
    /// The variable that holds the guard, if any.
    pub(crate) name: Option<String>,
}

/// Checks the statements before they are rewritten.
pub(crate) fn held_across_yield(statements: &[Stmt]) -> Vec<HeldGuard> {
    let mut tracker = GuardTracker::default();
    for statement in statements {
        tracker.visit_stmt(statement);
    }
    tracker.held
}

#[derive(Default)]
struct GuardTracker {
    /// The guards held at the current expression.
    guards: Vec<Guard>,
    held: Vec<HeldGuard>,
}

struct Guard {
    name: Option<Ident>,
    /// The method that returned the guard.
    call: Ident,
    is_reported: bool,
}

impl GuardTracker {
    /// Visits a scope, then stops tracking the guards acquired in it.
    fn scope(&mut self, read: impl FnOnce(&mut Self)) {
        let outside = self.guards.len();
        read(self);
        self.guards.truncate(outside);
    }

    fn hold(&mut self, name: Option<Ident>, call: &Ident) {
        self.guards.push(Guard {
            name,
            call: call.clone(),
            is_reported: false,
        });
    }

    /// Stops tracking a variable that was dropped or moved.
    fn release(&mut self, name: &Ident) -> Option<Guard> {
        let named = |guard: &Guard| guard.name.as_ref() == Some(name);
        let at = self.guards.iter().rposition(named)?;
        // Mark the guard as reported instead of removing it from the list. `scope` truncates the
        // list to an earlier length, which would be wrong after a removal.
        let guard = &mut self.guards[at];
        let released = Guard {
            name: guard.name.take(),
            call: guard.call.clone(),
            is_reported: guard.is_reported,
        };
        guard.is_reported = true;
        Some(released)
    }

    fn yields(&mut self) {
        for guard in &mut self.guards {
            if !std::mem::replace(&mut guard.is_reported, true) {
                self.held.push(HeldGuard {
                    at: guard.call.span(),
                    call: guard.call.to_string(),
                    name: guard.name.as_ref().map(Ident::to_string),
                });
            }
        }
    }

    /// Tracks the guards that a scrutinee keeps alive for the whole block.
    fn hold_scrutinee(&mut self, pat: Option<&Pat>, scrutinee: &Expr) {
        match guard_call(scrutinee) {
            // The scrutinee is the guard itself, or a `Result` or `Option` that contains it.
            Some(call) if pat.is_some_and(|pat| call.fits(pat)) => {
                self.hold(pat.and_then(variable), call.name);
            }
            Some(_) => {}
            None => {
                let mut temporaries = Temporaries::default();
                temporaries.visit_expr(scrutinee);
                for call in temporaries.calls {
                    self.hold(None, &call);
                }
            }
        }
    }

    fn let_scrutinees(&mut self, cond: &Expr) {
        match cond {
            Expr::Let(ExprLet { pat, expr, .. }) => self.hold_scrutinee(Some(pat), expr),
            Expr::Binary(binary) => {
                self.let_scrutinees(&binary.left);
                self.let_scrutinees(&binary.right);
            }
            Expr::Paren(paren) => self.let_scrutinees(&paren.expr),
            _ => {}
        }
    }

    /// Checks the tokens of a macro with its own syntax.
    fn foreign_macro(&mut self, tokens: TokenStream) {
        let names: Vec<Ident> = self
            .guards
            .iter()
            .filter_map(|guard| guard.name.clone())
            .collect();
        for name in names {
            if mentions_drop(tokens.clone(), &name) {
                self.release(&name);
            }
        }
        let names = [YIELD.to_owned(), YIELD_ALL.to_owned()];
        if tokens::find_call(tokens, &names).is_some() {
            self.yields();
        }
    }
}

impl<'ast> Visit<'ast> for GuardTracker {
    fn visit_block(&mut self, block: &'ast Block) {
        self.scope(|tracker| visit::visit_block(tracker, block));
    }

    fn visit_local(&mut self, local: &'ast Local) {
        let Some(init) = &local.init else { return };
        // A guard that has been moved to another variable is still held.
        if let (Some(from), Some(to)) = (path_name(&init.expr), variable(&local.pat)) {
            if let Some(guard) = self.release(from).filter(|guard| !guard.is_reported) {
                self.hold(Some(to), &guard.call);
            }
            return;
        }
        visit::visit_local(self, local);
        if let Some(call) = guard_call(&init.expr)
            && call.fits(&local.pat)
            && let Some(name) = variable(&local.pat)
        {
            self.hold(Some(name), call.name);
        }
    }

    // Assume that a closure or an `async` block moves the variables that it mentions. The code of
    // such a closure or block is not part of the generator.
    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        self.release_moved(|moved| visit::visit_expr_closure(moved, closure));
    }

    fn visit_expr_async(&mut self, block: &'ast ExprAsync) {
        self.release_moved(|moved| visit::visit_expr_async(moved, block));
    }

    fn visit_expr_path(&mut self, path: &'ast ExprPath) {
        if let Some(name) = single_name(path) {
            self.release(name);
        }
    }

    fn visit_expr_match(&mut self, ExprMatch { expr, arms, .. }: &'ast ExprMatch) {
        self.visit_expr(expr);
        let whole = arms
            .iter()
            .map(|arm| &arm.pat)
            .find(|pat| variable(pat).is_some());
        self.scope(|tracker| {
            tracker.hold_scrutinee(whole, expr);
            for arm in arms {
                tracker.scope(|tracker| visit::visit_arm(tracker, arm));
            }
        });
    }

    fn visit_expr_for_loop(&mut self, ExprForLoop { expr, body, .. }: &'ast ExprForLoop) {
        self.visit_expr(expr);
        self.scope(|tracker| {
            tracker.hold_scrutinee(None, expr);
            tracker.visit_block(body);
        });
    }

    fn visit_expr_while(&mut self, ExprWhile { cond, body, .. }: &'ast ExprWhile) {
        self.visit_expr(cond);
        self.scope(|tracker| {
            tracker.let_scrutinees(cond);
            tracker.visit_block(body);
        });
    }

    fn visit_expr_if(&mut self, expr: &'ast ExprIf) {
        self.visit_expr(&expr.cond);
        self.scope(|tracker| {
            tracker.let_scrutinees(&expr.cond);
            tracker.visit_block(&expr.then_branch);
        });
        if let Some((_, otherwise)) = &expr.else_branch {
            self.visit_expr(otherwise);
        }
    }

    fn visit_expr_yield(&mut self, expr: &'ast ExprYield) {
        visit::visit_expr_yield(self, expr);
        self.yields();
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            // Place expressions and borrows do not move the guard.
            Expr::Field(inner) => self.visit_place(&inner.base),
            Expr::Index(inner) => {
                self.visit_place(&inner.expr);
                self.visit_expr(&inner.index);
            }
            Expr::Reference(inner) => self.visit_place(&inner.expr),
            Expr::Unary(inner) => self.visit_place(&inner.expr),
            Expr::MethodCall(ExprMethodCall { receiver, args, .. }) => {
                self.visit_place(receiver);
                for arg in args {
                    self.visit_expr(arg);
                }
            }
            Expr::Assign(inner) => {
                self.visit_expr(&inner.right);
                self.visit_place(&inner.left);
            }
            Expr::Call(ExprCall { args, .. }) => {
                for arg in args {
                    self.visit_expr(arg);
                }
            }
            _ => visit::visit_expr(self, expr),
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if call.path.get_ident().and_then(Yield::named).is_none() {
            return self.foreign_macro(call.tokens.clone());
        }
        if let Ok(Operand::One(operand)) = call.parse_body_with(operand) {
            Visit::visit_expr(self, &operand);
        }
        self.yields();
    }

    fn visit_item(&mut self, _: &'ast Item) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
}

impl GuardTracker {
    fn release_moved(&mut self, visit: impl FnOnce(&mut Moved)) {
        let mut moved = Moved::default();
        visit(&mut moved);
        for name in moved.0 {
            self.release(&name);
        }
    }

    fn visit_place(&mut self, expr: &Expr) {
        if path_name(expr).is_none() {
            Visit::visit_expr(self, expr);
        }
    }
}

/// The variables that a closure or an `async` block mentions.
#[derive(Default)]
struct Moved(Vec<Ident>);

impl<'ast> Visit<'ast> for Moved {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        self.0.extend(path_name(expr).cloned());
        visit::visit_expr(self, expr);
    }
}

/// Collects the calls in a scrutinee that create a guard as a temporary. Such a guard lives as long
/// as the scrutinee's value.
#[derive(Default)]
struct Temporaries {
    calls: Vec<Ident>,
}

impl<'ast> Visit<'ast> for Temporaries {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Closure(_) | Expr::Async(_) | Expr::Block(_) => return,
            // The guard is used only to compute the scrutinee's value and is not the value itself.
            Expr::MethodCall(call) => self.calls.extend(call_of_guard(&call.receiver)),
            Expr::Field(field) => self.calls.extend(call_of_guard(&field.base)),
            Expr::Index(index) => self.calls.extend(call_of_guard(&index.expr)),
            Expr::Unary(unary) => self.calls.extend(call_of_guard(&unary.expr)),
            Expr::Reference(reference) => self.calls.extend(call_of_guard(&reference.expr)),
            _ => {}
        }
        visit::visit_expr(self, expr);
    }

    fn visit_macro(&mut self, _: &'ast Macro) {}
}

/// Returns the method's name if the expression evaluates to a guard rather than to a `Result` that
/// contains a guard.
fn call_of_guard(expr: &Expr) -> Option<Ident> {
    let call = guard_call(expr)?;
    (call.holds == Holds::Guard).then(|| call.name.clone())
}

/// Returns the variable that a pattern such as `guard` or `Ok(guard)` binds.
fn variable(pat: &Pat) -> Option<Ident> {
    match pat {
        Pat::Ident(binding) => Some(binding.ident.clone()),
        Pat::Type(typed) => variable(&typed.pat),
        Pat::TupleStruct(tuple) if tuple.elems.len() == 1 => variable(&tuple.elems[0]),
        _ => None,
    }
}

fn single_name(path: &ExprPath) -> Option<&Ident> {
    path.path.get_ident().filter(|_| path.qself.is_none())
}

fn path_name(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Path(path) => single_name(path),
        Expr::Paren(paren) => path_name(&paren.expr),
        Expr::Group(group) => path_name(&group.expr),
        _ => None,
    }
}

/// Returns `true` if the tokens contain `drop(name)`.
fn mentions_drop(tokens: TokenStream, name: &Ident) -> bool {
    let mut follows_drop = false;
    tokens.into_iter().any(|token| {
        let found = match &token {
            TokenTree::Group(group) => {
                (follows_drop && *name == group.stream().to_string())
                    || mentions_drop(group.stream(), name)
            }
            _ => false,
        };
        follows_drop = matches!(&token, TokenTree::Ident(ident) if ident == "drop");
        found
    })
}

#[cfg(test)]
mod tests;
