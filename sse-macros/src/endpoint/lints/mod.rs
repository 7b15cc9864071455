//! Code in the body that is probably wrong, as far as its tokens tell. The lints read the statements before they are
//! rewritten, and know nothing of the rest of the endpoint: `warnings` decides what is worth a warning.

mod blocking;
mod early_yield;
mod locks;
mod loops;
pub(super) mod names;

use proc_macro2::Span;
use syn::Stmt;

pub(crate) use self::{blocking::Suspect, locks::HeldGuard};

/// The findings of all lints.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) suspects: Vec<Suspect>,
    /// Guards of locks that are held across a `yield_!`.
    pub(crate) held_locks: Vec<HeldGuard>,
    /// A loop of the function's own block that nothing leaves.
    pub(crate) never_ending: Option<Span>,
    /// A first `yield_!` with something below it that can fail before the next one.
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
