//! Runs the user's function as a coroutine and hands its events to the response body that polls it.

pub(crate) mod checkpoint;
pub(crate) mod client_ids;
pub(crate) mod exit;
pub(crate) mod first_ok;
pub(crate) mod frame_buffer;
pub(crate) mod generator;
pub(crate) mod handoff;
pub(crate) mod outgoing;
pub(crate) mod part;
pub(crate) mod reading;
pub(crate) mod run_failure;
pub(crate) mod signature;
pub(crate) mod yielder;
