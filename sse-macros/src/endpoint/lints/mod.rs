//! Finds code in the body that is probably wrong. The lints see the statements as the user wrote
//! them, but not the rest of the endpoint. `warnings` decides which findings become warnings.

mod blocking;
mod early_yield;
mod locks;
mod loops;

use proc_macro2::Span;
use syn::Stmt;

pub(crate) use self::{blocking::Suspect, locks::HeldGuard};

/// The findings of all lints.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) suspects: Vec<Suspect>,
    /// Lock guards held across a `yield_!`.
    pub(crate) held_locks: Vec<HeldGuard>,
    /// An endless loop in the function's outermost block.
    pub(crate) never_ending: Option<Span>,
    /// The first `yield_!`, if code between it and the next `yield_!` can fail.
    pub(crate) early_yield: Option<Span>,
}

impl Findings {
    pub(crate) fn of(statements: &[Stmt]) -> Self {
        Self {
            suspects: blocking::find(statements),
            held_locks: locks::held_across_yield(statements),
            never_ending: loops::never_ending(statements),
            early_yield: early_yield::early_yield(statements),
        }
    }
}
