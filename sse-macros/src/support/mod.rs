//! Code shared by the attribute and the derives.

pub(crate) mod comma_list;
pub(crate) mod description;
pub(crate) mod docs;
pub(crate) mod errors;
pub(crate) mod event_name;
pub(crate) mod reserved_name;
pub(crate) mod runtime_path;
pub(crate) mod types;
pub(crate) mod warning;
