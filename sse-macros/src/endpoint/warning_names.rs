//! The warning names that `allow(…)` accepts.

use crate::support::reserved_name::RESERVED_NAME;

pub(crate) const UNREAD_CAPTURE: &str = "unread_capture";
pub(crate) const FEW_CAPTURES: &str = "few_captures";
pub(crate) const BODY_ON_GET: &str = "body_on_get";
pub(crate) const BLOCKING_CALL: &str = "blocking_call";
pub(crate) const DETACHED_TASK: &str = "detached_task";
pub(crate) const BUSY_LOOP: &str = "busy_loop";
pub(crate) const EARLY_YIELD: &str = "early_yield";
pub(crate) const FINISH_WITHOUT_END: &str = "finish_without_end";
pub(crate) const LOCK_ACROSS_YIELD: &str = "lock_across_yield";
/// All names, in the order in which error messages list them.
pub(crate) const WARNINGS: [&str; 10] = [
    UNREAD_CAPTURE,
    FEW_CAPTURES,
    BODY_ON_GET,
    BLOCKING_CALL,
    DETACHED_TASK,
    BUSY_LOOP,
    EARLY_YIELD,
    FINISH_WITHOUT_END,
    RESERVED_NAME,
    LOCK_ACROSS_YIELD,
];
