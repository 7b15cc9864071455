//! Declarative Server-Sent Events for [axum](https://docs.rs/axum): annotate an `async fn` that
//! yields values and get a route.
//!
//! ```no_run
//! use std::time::{Duration, SystemTime};
//! use axum::Router;
//! use sse_runtime::{sse_endpoint, SseRouterExt, Stream};
//!
//! #[derive(serde::Serialize)]
//! struct Time { time: String }
//!
//! /// The time, once a second.
//! #[sse_endpoint("/clock")]
//! async fn clock() -> impl Stream<Item = Time> {
//!     let mut every = tokio::time::interval(Duration::from_secs(1));
//!     loop {
//!         every.tick().await;
//!         yield_!(Time { time: humantime::format_rfc3339(SystemTime::now()).to_string() });
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let app = Router::new().sse(clock);
//!     sse_runtime::serve("127.0.0.1:3000", app).await
//! }
//! ```
//!
//! The endpoint sets the right headers, sends one `data` line per event, and sends a keep-alive
//! when the stream is idle. Over HTTP/1, [`serve`](serve()) hands every event to the operating
//! system before the generator continues. As soon as the client disconnects, the generator is
//! dropped at its current `.await`. You do not need to flush, or to pass a cancellation token to
//! every `.await`.
//!
//! The macro is called `yield_!` because `yield` is a reserved keyword in Rust. The attribute
//! brings `yield_!` into scope, but only inside the function.
//!
//! axum's [`sse` module](https://docs.rs/axum/latest/axum/response/sse/index.html) provides the
//! encoder and the response, and you supply a stream. This crate adds the rest of an endpoint:
//! resumption, errors before and after the first event, limits, shutdown, and testing.
//!
//! # Where to look
//!
//! **Write endpoints**
//!
//! - [`sse_endpoint`]: the attribute, its keys, the return types, and the values that can be
//!   yielded.
//! - [`Event`]: a value with an `id`, an event name, a `retry` or a comment.
//! - [`SseEvent`](derive@SseEvent) and [`SseError`](derive@SseError): named events and errors,
//!   defined by an enum.
//! - [`Connection`]: a stream's client, its tasks and hooks, and the [reason](CloseReason) why it
//!   closed.
//! - [`ResponseHeaders`]: sets headers of the response.
//! - [`first_ok`]: turns an upstream failure into a response status if it happens before the
//!   response starts.
//! - [`relay`](crate::relay()): relays an event stream from another server.
//! - [`LastEventId`]: the id of the last event that the client received, from which it resumes.
//! - [`Event::done`]: an event that stops the client from reconnecting.
//!
//! **Share events**
//!
//! - [`Topic`]: broadcasts events to many clients. Each event is encoded once and is replayed to
//!   clients that reconnect.
//! - [`Hub`]: manages topics by name and starts runs that outlive their clients.
//! - [`Presence`](topic::Presence): tracks the clients that are connected.
//!
//! **Serve**
//!
//! - [`SseRouterExt::sse`] and [`SseRoute`]: add an endpoint to a router.
//! - [`serve`](crate::serve()) and [`Server`]: axum's server with timeouts for event streams and a
//!   graceful shutdown.
//! - [`Shutdown`]: the same graceful shutdown for plain `axum::serve`.
//! - [`StreamLimit`]: limits the number of open streams, in total, per endpoint or per client.
//!
//! **Describe**
//!
//! - [`openapi`]: OpenAPI documents, a TypeScript client, and a page for trying out streams.
//!
//! **Test**
//!
//! - [`testing`]: a client for testing your endpoints.
//!
//! **Guides**
//!
//! - [Resuming](resuming), [How a stream ends](how_a_stream_ends), [Clients](clients),
//!   [Protocols](protocols), [Recipes](recipes), [Running it in production](running_in_production),
//!   [What the compiler checks](what_the_compiler_checks),
//!   [Compared with axum's `Sse`](comparison), [Limitations](limitations)
//!
//! # Behaviour
//!
//! | if | then |
//! | --- | --- |
//! | the client disconnects | the generator is dropped at its current or next `.await`, and its destructors run |
//! | the generator returns | the stream ends, and an `EventSource` reconnects and starts a new one unless the attribute sets `end = "stop"` |
//! | `?` or `return Err(e)` before the response starts | the error is the response |
//! | `?` or `return Err(e)` in the stream | the stream sends an `error` event with the error as JSON and ends, and the error is logged at `warn` |
//! | a value's `Serialize` implementation fails | the response is aborted, no partial frame is sent, and the failure is logged at `error` |
//! | the generator panics | the response is aborted, the panic is logged at `error`, and neither other streams nor the server are affected |
//! | the server cuts off a stream with a method other than `GET` | the response is [aborted](how_a_stream_ends) so that no client mistakes it for a complete one, and a warning is logged |
//! | the method is `HEAD` | the statements before the response run, but the stream does not, so only the head is sent |
//!
//! The crate logs through `tracing` with the target `sse_runtime`. Install a subscriber to see the
//! output.
//!
//! # Features
//!
//! | feature | description |
//! | --- | --- |
//! | `server` (default) | [`serve`](crate::serve()) and [`Server`] (without this feature, use `axum::serve`) |
//! | `testing` | [`testing`], for dev-dependencies |
//! | `http2` | [`serve`](crate::serve()) supports HTTP/2 in addition to HTTP/1 |
//! | `metrics` | counts streams, events and bytes with the `metrics` crate |
//! | `openapi` | [`openapi`], for OpenAPI documents, a TypeScript client and the explorer page |
//! | `tls` | `Server::tls`, based on rustls and ring |
//! | `uuid` | converts a `uuid::Uuid` into an [`EventId`] |
//!
//! # Limitations
//!
//! A generator cannot be stopped while it blocks its thread, because it can be dropped only at an
//! `.await`. Use `tokio::task::spawn_blocking` for blocking calls. The attribute cannot look inside
//! other macros, so an `.await` inside `tokio::select!` or `tokio::join!` is a cancellation point
//! only if the awaited future returns `Pending`. A task started with `tokio::spawn` outlives the
//! generator, whereas one started with [`Connection::spawn`] does not. Under plain `axum::serve`
//! and over HTTP/2, flushing is best effort, because hyper buffers the data.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "testing", feature = "server", feature = "openapi")),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "some pages link to items that require optional features"
    )
)]
#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, reason = "some items are used only by the server")
)]
#![doc(test(attr(deny(warnings), allow(dead_code, unused_variables))))]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod config;
mod describe_macros;
mod endpoint;
pub mod event;
mod generator;
mod lifecycle;
mod macros;
#[cfg(feature = "openapi")]
#[cfg_attr(docsrs, doc(cfg(feature = "openapi")))]
pub mod openapi;
mod poll;
pub mod relay;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod server;
mod stream;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod topic;

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/clients.md")]
pub mod clients {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/comparison.md")]
pub mod comparison {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/how_a_stream_ends.md")]
pub mod how_a_stream_ends {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/limitations.md")]
pub mod limitations {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/protocols.md")]
///
/// # The files
///
/// ## model.rs
///
/// ```
/// # fn main() {}
/// # mod model {
#[doc = include_str!("../docs/protocols/model.rs")]
/// # }
/// ```
///
/// ## openai_chat.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod openai_chat {
#[doc = include_str!("../docs/protocols/openai_chat.rs")]
/// # }
/// ```
///
/// ## openai_responses.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod openai_responses {
#[doc = include_str!("../docs/protocols/openai_responses.rs")]
/// # }
/// ```
///
/// ## anthropic.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod anthropic {
#[doc = include_str!("../docs/protocols/anthropic.rs")]
/// # }
/// ```
///
/// ## ai_sdk.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod ai_sdk {
#[doc = include_str!("../docs/protocols/ai_sdk.rs")]
/// # }
/// ```
///
/// ## ag_ui.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod ag_ui {
#[doc = include_str!("../docs/protocols/ag_ui.rs")]
/// # }
/// ```
///
/// ## mcp_2025_11_25.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod mcp_2025_11_25 {
#[doc = include_str!("../docs/protocols/mcp_2025_11_25.rs")]
/// # }
/// ```
///
/// ## mcp_2026_07_28.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod mcp_2026_07_28 {
#[doc = include_str!("../docs/protocols/mcp_2026_07_28.rs")]
/// # }
/// ```
///
/// ## a2a.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod a2a {
#[doc = include_str!("../docs/protocols/a2a.rs")]
/// # }
/// ```
///
/// ## datastar.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod datastar {
#[doc = include_str!("../docs/protocols/datastar.rs")]
/// # }
/// ```
///
/// ## htmx.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod htmx {
#[doc = include_str!("../docs/protocols/htmx.rs")]
/// # }
/// ```
///
/// ## turbo.rs
///
/// ```
/// # fn main() {}
/// # mod model { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocols/model.rs")); }
/// # mod turbo {
#[doc = include_str!("../docs/protocols/turbo.rs")]
/// # }
/// ```
pub mod protocols {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/recipes.md")]
pub mod recipes {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/resuming.md")]
pub mod resuming {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/running_in_production.md")]
///
/// # The files
///
/// ## nginx.conf
///
/// ```nginx
#[doc = include_str!("../docs/proxies/nginx.conf")]
/// ```
///
/// ## haproxy.cfg
///
/// ```haproxy
#[doc = include_str!("../docs/proxies/haproxy.cfg")]
/// ```
///
/// ## Caddyfile
///
/// ```caddy
#[doc = include_str!("../docs/proxies/Caddyfile")]
/// ```
///
/// ## httpd.conf
///
/// ```apache
#[doc = include_str!("../docs/proxies/httpd.conf")]
/// ```
///
/// ## varnish.vcl
///
/// ```vcl
#[doc = include_str!("../docs/proxies/varnish.vcl")]
/// ```
pub mod running_in_production {}

#[cfg(doc)]
#[doc = include_str!("../docs/what_the_compiler_checks.md")]
pub mod what_the_compiler_checks {}

/// The types generated for an endpoint, and the types in their signatures.
pub mod route {
    #[doc(inline)]
    pub use crate::{
        endpoint::route::{
            ByName, InLayer, IntoSseRoute, Itself, Layered, Mount, NoArguments, SseRoute,
            SseRouterExt,
        },
        generator::{
            first_ok::{FallibleStream, FirstItem, FirstOk},
            generator::Generator,
        },
        lifecycle::{
            close_signal::{CloseSignal, WhenCancelled, WhenReady},
            connection::{MissingConnection, response_headers::ResponseHeaderError},
            deadline::IntoDeadline,
            shutdown::ShutdownService,
            stream_limit::{layer::StreamLimitService, rejection::LimitExceeded},
        },
    };
}

/// The version of axum that this crate uses.
#[doc(no_inline)]
pub use axum;
#[doc(inline)]
pub use endpoint::route::{SseRoute, SseRouterExt};
#[doc(inline)]
pub use event::{Event, EventId, EventName, LastEventId, SseError, SseEvent, Text};
#[doc(inline)]
pub use generator::first_ok::first_ok;
#[doc(inline)]
pub use lifecycle::{
    close_reason::CloseReason,
    connection::{Connection, response_headers::ResponseHeaders},
    shutdown::Shutdown,
    stream_limit::StreamLimit,
};
pub use macros::{SseError, SseEvent, sse_endpoint};
#[doc(inline)]
pub use relay::relay;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
#[doc(inline)]
pub use server::{Server, serve};
#[doc(no_inline)]
pub use tokio_stream::Stream;
#[doc(inline)]
pub use topic::{Hub, Start, Topic};
