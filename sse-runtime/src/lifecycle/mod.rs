//! The lifecycle of a stream: its close reason, its tasks and hooks, the limits it counts towards,
//! its span and its metrics.

pub(crate) mod close_guard;
pub(crate) mod close_reason;
pub(crate) mod close_signal;
pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod ending;
pub(crate) mod flow_control;
pub(crate) mod metrics;
pub(crate) mod record;
pub(crate) mod shutdown;
pub(crate) mod stop_signal;
pub(crate) mod stream_limit;
pub(crate) mod wire;
