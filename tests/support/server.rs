//! Creates the servers for the tests. The suite runs with the takeover, or without it if
//! `TAKEOVER=off` is set in the environment.

use axum::Router;
use sse_runtime::Server;

/// Returns a server for `app`.
pub fn server_of(app: Router) -> Server {
    Server::new(app).bypass_hyper(has_takeover())
}

/// Returns whether event streams over HTTP/1 are taken over.
pub fn has_takeover() -> bool {
    std::env::var_os("TAKEOVER").is_none_or(|takeover| takeover != "off")
}
