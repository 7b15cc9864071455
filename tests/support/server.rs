//! The servers of the tests: the suite runs with the takeover, or without it if the environment
//! says `TAKEOVER=off`.

use axum::Router;
use sse_runtime::Server;

/// Returns a server of `app`.
pub fn server_of(app: Router) -> Server {
    Server::new(app).bypass_hyper(has_takeover())
}

/// Whether event streams over HTTP/1 are taken over.
pub fn has_takeover() -> bool {
    std::env::var_os("TAKEOVER").is_none_or(|takeover| takeover != "off")
}
