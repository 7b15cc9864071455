//! Recognizes calls that return a lock guard. Types are unknown to the macro, so the calls are
//! recognized by the names of the methods.

use proc_macro2::Ident;
use syn::{Expr, ExprAwait, ExprCall, ExprMethodCall, Pat};

/// A call that returns a guard.
#[derive(Clone, Copy)]
pub(super) struct GuardCall<'a> {
    pub(super) name: &'a Ident,
    pub(super) holds: Holds,
}

/// The return value of a guard call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Guard,
    /// A `Result` that contains a guard.
    Result,
}

impl GuardCall<'_> {
    /// Returns `true` if a pattern can bind the guard. If the pattern cannot bind a guard, the call
    /// is to an unrelated method with the same name.
    pub(super) fn fits(&self, pat: &Pat) -> bool {
        match (self.holds, pat) {
            (_, Pat::Type(typed)) => self.fits(&typed.pat),
            (Holds::Guard, pat) => matches!(pat, Pat::Ident(_)),
            (Holds::Result, pat) => matches!(pat, Pat::Ident(_) | Pat::TupleStruct(_)),
        }
    }
}

/// tokio's methods that wait for the lock.
const LOCK: [&str; 6] = [
    "lock",
    "lock_owned",
    "read",
    "read_owned",
    "write",
    "write_owned",
];
/// tokio's methods that return a `Result` without waiting. std's locks do not need a lint. Their
/// guards are not `Send`, so the compiler already rejects code that holds them across a `yield_!`.
const TRY_LOCK: [&str; 6] = [
    "try_lock",
    "try_lock_owned",
    "try_read",
    "try_read_owned",
    "try_write",
    "try_write_owned",
];

/// Returns the guard call if the expression evaluates to a guard or to a `Result` that contains a
/// guard.
pub(super) fn guard_call(expr: &Expr) -> Option<GuardCall<'_>> {
    let is_one_of = |names: &[&str], call: &ExprMethodCall| {
        call.args.is_empty() && names.iter().any(|name| call.method == name)
    };
    match expr {
        Expr::Paren(paren) => guard_call(&paren.expr),
        Expr::Group(group) => guard_call(&group.expr),
        Expr::Await(ExprAwait { base, .. }) => match &**base {
            Expr::MethodCall(call) if is_one_of(&LOCK, call) => Some(GuardCall {
                name: &call.method,
                holds: Holds::Guard,
            }),
            // `timeout(limit, mutex.lock()).await`
            Expr::Call(ExprCall { args, .. }) => args.iter().find_map(|arg| match arg {
                Expr::MethodCall(call) if is_one_of(&LOCK, call) => Some(GuardCall {
                    name: &call.method,
                    holds: Holds::Result,
                }),
                _ => None,
            }),
            _ => None,
        },
        Expr::MethodCall(call) if is_one_of(&TRY_LOCK, call) => Some(GuardCall {
            name: &call.method,
            holds: Holds::Result,
        }),
        Expr::MethodCall(call) if call.method == "unwrap" || call.method == "expect" => {
            unwrapped(guard_call(&call.receiver)?)
        }
        Expr::Try(inner) => unwrapped(guard_call(&inner.expr)?),
        _ => None,
    }
}

/// Unwraps the `Result` around a guard.
fn unwrapped(call: GuardCall<'_>) -> Option<GuardCall<'_>> {
    (call.holds == Holds::Result).then_some(GuardCall {
        holds: Holds::Guard,
        ..call
    })
}
