//! The route that the attribute generates, and its handler.

pub(crate) mod route;
pub(crate) mod route_conflict;
