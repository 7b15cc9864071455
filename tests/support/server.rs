//! Creates servers for the tests. These servers take HTTP/1 event streams over from hyper unless
//! `TAKEOVER=off` is set in the environment.

use axum::Router;
use sse_runtime::Server;

/// Returns a server for `app`.
pub fn server_of(app: Router) -> Server {
    Server::new(app).bypass_hyper(has_takeover())
}

/// Returns whether the tests' servers take HTTP/1 event streams over from hyper.
pub fn has_takeover() -> bool {
    std::env::var_os("TAKEOVER").is_none_or(|takeover| takeover != "off")
}
