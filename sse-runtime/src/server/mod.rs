//! The server, which accepts connections, serves requests and drives event streams.

pub(crate) mod body_timeout;
pub(crate) mod connection_task;
pub(crate) mod connections;
pub(crate) mod custom_listener;
#[cfg(feature = "http2")]
pub(crate) mod http2;
pub(crate) mod listener;
mod run;
pub(crate) mod server;
pub(crate) mod service;
mod shutdown_times;
pub(crate) mod socket;
pub(crate) mod takeover;
#[cfg(feature = "tls")]
pub(crate) mod tls;

#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use self::tls::error::TlsError;
pub use self::{
    listener::Bind,
    server::{Server, serve},
};
