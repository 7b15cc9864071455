//! What is probably wrong with a body, as far as its tokens tell.

pub(super) mod blocking;
pub(super) mod early_yield;
pub(super) mod locks;
pub(super) mod loops;
