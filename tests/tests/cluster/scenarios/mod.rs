//! The scenarios. Each scenario checks all invariants at its end.

pub(crate) mod clocks;
pub(crate) mod crowd;
pub(crate) mod deployment;
pub(crate) mod down;
pub(crate) mod feed;
pub(crate) mod finished;
pub(crate) mod killed;
pub(crate) mod lost;
pub(crate) mod replicas;
pub(crate) mod runs;
pub(crate) mod trimmed;
