//! The route that the attribute leaves behind, and its handler.

pub(crate) mod route;
pub(crate) mod route_conflict;
