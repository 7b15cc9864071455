//! The route that the attribute generates, and the handler of that route.

pub(crate) mod route;
pub(crate) mod route_conflict;
