//! Declarative Server-Sent Events for [axum](https://docs.rs/axum): annotate an `async fn` that yields values, and get a
//! route.
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
//! The endpoint sends the right headers, one `data` line per event, and a keep-alive when it is quiet. Every event is on
//! the wire before the generator goes on, and the generator is dropped where it waits as soon as the client disconnects:
//! there is no flush to forget, and no cancellation token to pass to every await.
//!
//! `yield` is reserved in Rust, hence `yield_!`. The attribute brings it into scope, in the function alone.
//!
//! Compared with [`axum::response::sse`]: that gives you the encoder and the response, to which you bring a stream. This
//! crate adds the rest of an endpoint: resuming, errors on both sides of the first event, limits, shutdown, and tests.
//!
//! # Where to look
//!
//! **Write endpoints**
//!
//! - [`sse_endpoint`]: the attribute, its keys, the return types, and the values that can be yielded.
//! - [`Event`]: a value with an `id`, an event name, a `retry` or a comment.
//! - [`SseEvent`](derive@SseEvent) and [`SseError`](derive@SseError): named events, and errors, from an enum.
//! - [`Connection`]: the client of a stream, the tasks and hooks that end with it, and [why](CloseReason) it closed.
//! - [`first_ok`]: an upstream's failure, while the response can still have a status.
//! - [`LastEventId`] and [`Event::done`]: where a client resumes, and how it is stopped.
//!
//! **Share events**
//!
//! - [`Topic`]: an event for many clients, encoded once, and replayed to those that reconnect.
//! - [`Hub`]: topics by name, and runs that outlive their client; [`Presence`](topic::Presence): who is connected.
//!
//! **Serve**
//!
//! - [`SseRouterExt::sse`] and [`SseRoute`]: put an endpoint on a router.
//! - [`serve`](crate::serve()) and [`Server`]: axum's server with timeouts for event streams and a graceful shutdown.
//! - [`Shutdown`]: the same shutdown under plain `axum::serve`.
//! - [`StreamLimit`]: how many streams may be open, in total, per endpoint or per client.
//!
//! **Test**
//!
//! - [`testing`]: a client for the tests of your own endpoints.
//!
//! **Guides**
//!
//! - [Resuming](resuming), [How a stream ends](how_a_stream_ends), [Clients](clients),
//!   [Running it in production](running_in_production), [What the compiler checks](what_the_compiler_checks),
//!   [Compared with axum's `Sse`](comparison), [Limitations](limitations)
//!
//! # What happens when
//!
//! | what | then |
//! | --- | --- |
//! | the client disconnects | the generator is dropped where it waits, and its destructors run; one that never waits stops at its next `.await` |
//! | the generator returns | the stream ends; an `EventSource` reconnects and gets a new run, unless the attribute says `end = "stop"` |
//! | `?` or `return Err(e)` before the response | the error is the response |
//! | `?` or `return Err(e)` in the stream | `event: error` with the error as JSON, then the end; logged at `warn` |
//! | a value's `Serialize` fails | the response breaks off, so that no client takes it for complete; logged at `error`; half a frame is never sent |
//! | the generator panics | the same; other streams and the server are not affected |
//! | the server cuts the stream of a method other than `GET` | the response breaks off, so that no client takes it for complete; logged at `warn` ([how a stream ends](how_a_stream_ends)) |
//! | `HEAD` | the head; the statements before the response run, the stream does not |
//!
//! It logs through `tracing`, under the target `sse_runtime`: install a subscriber to see it.
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `server` (default) | [`serve`](crate::serve()) and [`Server`]; without it, use `axum::serve` |
//! | `testing` | [`testing`], for dev-dependencies |
//! | `http2` | [`serve`](crate::serve()) speaks HTTP/2 beside HTTP/1 |
//! | `metrics` | counts streams, events and bytes through the facade of the crate `metrics` |
//! | `tls` | `Server::tls`, with rustls and ring |
//! | `uuid` | [`EventId`] from `uuid::Uuid` |
//!
//! # Limitations
//!
//! Nothing stops a generator that blocks its thread in a call without an `.await`; use `tokio::task::spawn_blocking`.
//! Awaits inside macros (`tokio::select!`, `tokio::join!`) are cancellation points only as far as their futures are,
//! because an attribute does not see into them. A task that the generator starts with `tokio::spawn` outlives it; one
//! started with [`Connection::spawn`] does not. Under plain `axum::serve` and over HTTP/2 the flush is best effort, since
//! hyper buffers in between.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "testing", feature = "server")),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "some pages link to features"
    )
)]
#![cfg_attr(
    not(feature = "server"),
    allow(
        dead_code,
        reason = "the server uses parts of earlier stages that nothing else does"
    )
)]
#![doc(test(attr(deny(warnings), allow(dead_code, unused_variables))))]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod config;
mod endpoint;
pub mod event;
mod generator;
mod lifecycle;
mod poll;
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

/// Routes: what the function of an endpoint becomes, and the types in its signature.
pub mod route {
    #[doc(inline)]
    pub use crate::{
        endpoint::route::{
            ByName, InLayer, IntoSseRoute, Itself, Layered, Mount, NoArguments, SseRoute,
            SseRouterExt,
        },
        generator::{first_ok::FirstOk, generator::Generator},
        lifecycle::{
            connection::MissingConnection,
            deadline::IntoDeadline,
            shutdown::ShutdownService,
            stream_limit::{LimitExceeded, StreamLimitService},
        },
    };
}

/// The axum that this crate builds on.
#[doc(no_inline)]
pub use axum;
pub use endpoint::route::{SseRoute, SseRouterExt};
pub use event::{Event, EventId, EventName, LastEventId, SseError, SseEvent, Text};
pub use generator::first_ok::first_ok;
pub use lifecycle::{
    close_reason::CloseReason, connection::Connection, shutdown::Shutdown,
    stream_limit::StreamLimit,
};
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use server::{Server, serve};
#[doc(no_inline)]
pub use tokio_stream::Stream;
pub use topic::{Hub, Start, Topic};

/// Turns an async function that yields into an event endpoint.
///
/// ```
/// use axum::{Router, extract::{Path, State}, http::StatusCode};
/// use sse_runtime::{SseRouterExt, Stream, sse_endpoint};
///
/// # #[derive(Clone)] struct Orders;
/// # impl Orders { async fn find(&self, id: u64) -> Option<Order> { Some(Order { id }) } }
/// # struct Order { id: u64 }
/// # impl Order { async fn next_step(&self) -> Option<Step> { None } }
/// #[derive(serde::Serialize)]
/// struct Step { name: String }
///
/// /// The steps of an order, as they are made.
/// #[sse_endpoint("/orders/{id}/steps", retry = "3s", end = "stop")]
/// async fn order_steps(
///     State(orders): State<Orders>,
///     Path(id): Path<u64>,
/// ) -> Result<impl Stream<Item = Step>, StatusCode> {
///     // Before the first `yield_!` there still is a status to answer with.
///     let order = orders.find(id).await.ok_or(StatusCode::NOT_FOUND)?;
///     while let Some(step) = order.next_step().await {
///         yield_!(step);
///     }
/// }
///
/// let app: Router = Router::new().sse(order_steps).with_state(Orders);
/// ```
///
/// # Keys
///
/// `#[sse_endpoint("/path/{param}", key = value, …)]` goes on a free `async fn`. The path is in axum's syntax, and
/// checked at compile time; so is every value. Durations are written as `"500ms"`, `"15s"`, `"5m"`, `"1h 30m"`.
///
/// | key | value | default | meaning |
/// | --- | --- | --- | --- |
/// | `method` | `GET`, `POST`, `PUT`, `PATCH`, `DELETE` | `GET` | a browser's `EventSource` sends `GET`; the others serve `fetch` |
/// | `keep_alive` | a duration, `"off"` | `"15s"` | a comment (`:` on a line of its own) after this much silence |
/// | `keep_alive_event` | an event name | none | the keep-alive is an event of this name, with `null` for data, so that scripts see it |
/// | `retry` | a duration | none | the reconnection time, sent with the head |
/// | `flush` | `"each"`, `"ready"` | `"each"` | `each`: an event is with the kernel before the generator goes on; `ready`: events that are yielded without waiting in between share a write, up to 32 KiB |
/// | `max_duration` | a duration | none | ends the stream after this long, less up to 20 % at random, so that clients do not come back at once |
/// | `end` | `"reconnect"`, `"stop"` | `"reconnect"` | what a client that comes back after the generator finished gets: a new run, or `204`, which stops it; `stop` leaves the event `done` as its last, whose id asks for that |
/// | `error_event` | an event name | `"error"` | the event that an error in the stream becomes |
/// | `on_shutdown` | `"close"`, `"finish"` | `"close"` for GET, else `"finish"` | when the server stops: end at a moment within its drain time, or run on until the stream ends by itself or the drain time does |
/// | `on_cut` | `"abort"`, `"end"` | `"end"` for GET, else `"abort"` | how the response of a stream ends that was cut before its function finished: it breaks off, or it ends like a complete one |
/// | `events` | `"all"`, `"own"` | `"all"` for GET, else `"own"` | `own`: only the events that the function yields, and comments; `all`: also `done`, `gap`, `close` and the event of the keep-alive |
/// | `allow` | `allow(unread_capture, few_captures)` | none | silences [warnings](#warnings) of the attribute by their names |
/// | `crate` | a path | `::sse_runtime` | for a renamed dependency: `crate = ::my_sse` |
///
/// # Arguments
///
/// axum's extractors, at most 16, in axum's order: the last may take the body. What they reject is answered as axum
/// answers it. [`LastEventId`] is one more. `#[cfg]` works on an argument, as it does everywhere in the body: a `yield_!`
/// that is not compiled does not count as the first.
///
/// # Return types
///
/// The return type says what the stream carries and when the response begins.
///
/// | return type | statements before the first that yields | in the stream |
/// | --- | --- | --- |
/// | `impl Stream<Item = T>` | part of the stream: the head is sent at the generator's first wait | `?` does not compile |
/// | `impl Stream<Item = Result<T, E>>` | part of the stream | `?` and `return Err(e)` end it with `event: error`, the error as JSON in `data` |
/// | `Result<impl Stream<Item = T>, R>` | run before the response: `?` and `return Err(r)` are its status | `?` does not compile |
/// | `Result<impl Stream<Item = Result<T, E>>, R>` | as above | as in the second row |
///
/// `T` and `E` are [`Payload`]s: every [`serde::Serialize`], [`Text`], or axum's `Html`. `R` is an
/// `axum::response::IntoResponse`, and need not be a failure: whatever is answered instead of a stream, a redirect or a
/// plain JSON object, is an `Err` here. "Before" is lexical: the statements of the function's own block up to the first one
/// that contains a `yield_!`. So a `yield_!` that is added at the top turns every later `?` from a status into an
/// event. What was bound before lives to the end of the stream. `return;` before the response answers `204`; behind
/// it, and in every form, it ends the stream.
///
/// # Yielding
///
/// `yield_!(value)` takes the item `T` (not `Ok(T)`), a `&T`, or an [`Event`] of either, and returns when the event is
/// on its way. It works wherever an `.await` would, also inside of `tokio::select!`; in a closure or an `async` block
/// of its own it is an error (an attribute does not see into other macros, so there it may compile; an event that was
/// yielded is then sent, whatever becomes of the block). `yield_all!(stream)` yields everything of another stream of such values, or of `Result`s of
/// them where the item is one. A yield is an `.await` that lasts until the client has read: holding a std lock guard
/// across it does not compile, and a tokio guard keeps the lock held (see the warning `lock_across_yield`), so clone the
/// guarded value first. Both macros are in scope only inside the function. It takes several types; what
/// may be of any type that is asked for (`x.into()`, `"1".parse()?`, `iter.collect()`, `Default::default()`) is taken
/// for the item.
///
/// # Cutting a long generator into parts
///
/// `yield_!` is known inside of the endpoint alone. A part of it is a function that returns a stream, which the endpoint
/// yields with `yield_all!`, or one that returns what is to be yielded. Streams are made by `tokio-stream` (from
/// iterators and channels) and by `async-stream` (from a generator).
///
/// ```
/// use sse_runtime::{Event, Stream, sse_endpoint};
///
/// #[derive(serde::Serialize)]
/// struct Line { text: &'static str }
///
/// fn replay() -> impl Stream<Item = Event<Line>> {
///     tokio_stream::iter((1_u64..).zip(["one", "two"]).map(|(id, text)| Event::json(Line { text }).id(id)))
/// }
///
/// #[sse_endpoint("/log")]
/// async fn log() -> impl Stream<Item = Line> {
///     yield_all!(replay());
///     yield_!(Event::comment("live from here"));
/// }
/// ```
///
/// # What it leaves behind
///
/// A function of the same name that takes nothing and returns the route: `Router::new().sse(clock)`,
/// `.sse(clock().layer(auth))`, `.route("/v2/clock", clock().into_method_router())`. Doc comments, `#[cfg]`, `#[deprecated]`, lints and the visibility go onto it. Other
/// attributes go onto the function inside: write `#[tracing::instrument]` below this one, and the generator is polled
/// in its span to the end. An attribute that reads only the signature, such as `#[utoipa::path]`, goes above this one.
/// `#[axum::debug_handler]` goes nowhere: the function is not a plain handler.
///
/// # Warnings
///
/// What is probably wrong, and cannot be sure, is a warning that `allow(…)` silences by its name:
///
/// | name | what it says |
/// | --- | --- |
/// | `unread_capture` | the path has a capture, and none of the arguments reads the path |
/// | `few_captures` | `Path<…>` takes fewer values than the path has captures (those of an outer `nest` count as well) |
/// | `body_on_get` | an argument reads the body (`Json`, `String`, `Bytes`, `Multipart`), and the method is `GET`, which has none |
/// | `blocking_call` | a call holds the thread, and with it all streams that run there: `std::thread::sleep`, what reads and writes in `std::fs`, `std::net::TcpStream::connect`, `.blocking_recv()` and its like, `block_on` |
/// | `detached_task` | `tokio::spawn(…)` whose handle is dropped at once: the task goes on when the client has left |
/// | `busy_loop` | a `loop` or `while true` in which nothing waits, yields or leaves, so that the thread is never given up |
/// | `early_yield` | the response and the stream have the same error, and between the first `yield_!` and the next that yields stands a `?` or a `return Err(…)`, which would be a status if the first came later |
/// | `finish_without_end` | `on_shutdown = "finish"` on a function with a loop that nothing leaves |
/// | `lock_across_yield` | the guard of a `.lock().await`, `.read().await` or `.write().await` is held across a `yield_!`, so a slow client holds the lock |
/// | `reserved_name` | `keep_alive_event` or `error_event` is the name of an event of the framework (`close`, `done`, `gap`, and for the keep-alive `error`) or of `EventSource` (`open`, and for the keep-alive `message`) |
///
/// What a body does counts where it is written out from its crate on (`std::fs::read(…)`, not `read(…)`), and outside of
/// closures: `spawn_blocking(|| std::fs::read(…))` is right.
///
/// # Cancel safety
///
/// Each `.await` is a place where the generator may be dropped, as in any axum handler: keep what has to happen in a
/// destructor, or in a task of its own (`allow(detached_task)`, where nobody awaits it).
pub use sse_macros::sse_endpoint;

/// Makes a type an event type: each variant is an event of its own name.
///
/// ```
/// use sse_runtime::{SseEvent, Stream, sse_endpoint};
///
/// # #[derive(serde::Serialize)] struct Call { tool: String }
/// # #[derive(serde::Serialize)] struct Note { text: String }
/// #[derive(SseEvent)]
/// enum ChatEvent {
///     Token { text: String },            // event: token      data: {"text":"…"}
///     #[sse(event = "tool-call")]
///     ToolCall(Call),                    // event: tool-call  data: the value as JSON
///     #[sse(text)]
///     Html(String),                      // event: html       data: the text, one line per line
///     #[sse(message)]
///     Plain(Note),                       // no event field: arrives as `message`
///     Finished,                          // event: finished   data: empty, and still dispatched
/// }
///
/// #[sse_endpoint("/chat")]
/// async fn chat() -> impl Stream<Item = ChatEvent> {
///     yield_!(ChatEvent::Token { text: "Hi".to_owned() });
///     yield_!(ChatEvent::Finished);
/// }
/// ```
///
/// In the browser: `source.addEventListener("token", (event) => show(JSON.parse(event.data).text))`.
///
/// # The type itself
///
/// It may be an enum or a struct, with generics and lifetimes. The derive brings `serde::Serialize` as well (a
/// derive cannot see its siblings, so to derive that beside it is an error), with all of serde's attributes on the type,
/// its variants and its fields. To every other serializer the type is what serde's own derive would make of it, so a
/// handler answers with `Json(event)`, and `serde_json` reads it back. As the top of an event (also in an `Option`, a
/// `Box`, or a newtype) it is an event of its variant, whose data holds what is in the variant, without its tag. Inside of
/// another value it is plain JSON. It works wherever a [`Payload`] does: as an item, as the error of a stream (whose
/// event then has the variant's name; one without a name has `error_event`'s), and in [`Event::json`], whose own `event`, `id` and
/// `retry` win over the type's. (For the response before the stream it is not: that wants an `IntoResponse`, or
/// [`SseError`](derive@SseError) instead.)
///
/// The names of events and serde's names are two things: `#[serde(rename = "…")]` is the tag in a handler's JSON,
/// `#[sse(event = "…")]` the name of the event. Under `#[serde(tag = "type")]`, or `untagged`, the data is what serde makes of
/// the whole value, the tag included, for clients that look there.
///
/// With `serde::Deserialize` derived beside it, the test client reads it back, see
/// [`ReceivedEvent::decode`](testing::ReceivedEvent::decode). What is `#[serde(skip)]`, such as an id that is nothing
/// else, comes back as its default.
///
/// # Attributes
///
/// | attribute | on | meaning |
/// | --- | --- | --- |
/// | `event = "tool-call"` | variant, struct | the event's name; otherwise the variant's, or the struct's, in `snake_case` |
/// | `rename_all = "kebab-case"` | enum | how names are written that are not given: serde's rules, `snake_case` by default |
/// | `message` | variant, struct | no name: a browser's `onmessage` gets it |
/// | `text` | variant, struct of one unnamed field | the data is this text as it is, not as JSON |
/// | `id` | field | it is the event's id as well: a number, an [`EventId`], a `uuid::Uuid` (feature `uuid`), or an `Option` of one; with `#[serde(skip)]` it is nothing but the id |
/// | `allow(reserved_name)` | variant, type | silences the warning about the names `close`, `done`, `error` and `gap`, which the framework gives events of its own, and `open`, which `EventSource` does |
/// | `crate = ::my_sse` | type | for a renamed dependency |
///
/// Names are checked when they are compiled: they have no line breaks, are not empty, and no two variants have the same.
/// A variant holds one value, or fields with names, or nothing.
pub use sse_macros::SseEvent;

/// Makes a type an error of both sides of the first event: before it an HTTP response, after it an event.
///
/// ```
/// use std::time::Duration;
/// use sse_runtime::{SseError, Stream, sse_endpoint};
///
/// # struct Model;
/// # impl Model { async fn next(&self) -> std::io::Result<Option<String>> { Ok(None) } }
/// # async fn model(room: u64) -> std::io::Result<Model> { Ok(Model) }
/// #[derive(Debug, thiserror::Error, SseError)]
/// enum AskError {
///     #[error("there is no room {room}")]
///     #[sse(status = 404)]
///     NoRoom { room: u64 },
///     #[error("the model wants {after:?} of peace")]
///     #[sse(status = 429)]
///     Busy { #[sse(retry_after)] after: Duration },
///     #[error("the model failed")]
///     Model(#[from] std::io::Error),
/// }
///
/// #[sse_endpoint("/ask")]
/// async fn ask() -> Result<impl Stream<Item = Result<String, AskError>>, AskError> {
///     let model = model(7).await?;               // 500 Internal Server Error
///     while let Some(word) = model.next().await? {
///         yield_!(word);                         // from here on `?` is `event: error`
///     }
/// }
/// ```
///
/// Both sides show the same JSON, a problem of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457): before the stream as
/// `application/problem+json` with its status, in the stream as the `data` of the endpoint's `error_event`.
///
/// ```json
/// {"title":"Too Many Requests","code":"busy","status":429,"after":30}
/// ```
///
/// `code` is the variant's name, by which scripts tell errors apart. The fields of the variant follow by their names; one
/// that is called `type`, `title`, `detail`, `instance` or `code` is that member. A field with `#[sse(retry_after)]` sets the
/// header `Retry-After` before the stream, and the `retry` of the event in it, so that a browser comes back no sooner.
///
/// # What stays inside
///
/// Only fields with a name whose type is `serde::Serialize` are shown. What has no name, what is not `Serialize`, and the
/// cause of an error (`#[from]`, `#[source]`, `#[backtrace]`, or a field called `source` or `backtrace`) are not; nor is what
/// `#[serde(skip)]` hides. So an error that is wrapped is answered by what the variant around it says, a 500 unless that says
/// otherwise; `#[sse(transparent)]` lets another `SseError` speak for itself. To show a text, give the variant a field called
/// `detail`. `Display` is for the log alone: with the sources of the error, at `error` for a 5xx before the
/// stream, at `debug` for a 4xx, at `warn` in the stream.
///
/// # Attributes
///
/// | attribute | on | meaning |
/// | --- | --- | --- |
/// | `status = 429` | variant, type | 400 to 599; on an enum for the variants that do not say their own; 500 by default |
/// | `title = "…"` | variant, struct | one line for people; the status' own by default |
/// | `detail = "…"` | variant, struct | more of it; a field called `detail` says it for one error |
/// | `type = "https://…"` | variant, struct | a URI that identifies the kind of problem; none by default |
/// | `code = "…"` | variant, struct | otherwise the variant's name, or the struct's, in `snake_case` |
/// | `rename_all = "kebab-case"` | enum | how codes are written that are not given: serde's rules |
/// | `transparent` | variant | the one field, an `SseError`, is the whole error: its status, its members, its time to wait |
/// | `retry_after` | field | a `Duration`, whole seconds, or an `Option` of one; shown as whole seconds |
/// | `crate = ::my_sse` | type | for a renamed dependency |
///
/// Of serde's attributes, fields take `rename`, `skip`, `skip_serializing` and `skip_serializing_if`. The derive brings
/// `serde::Serialize`, `axum::response::IntoResponse` and [`trait@SseError`], so it excludes [`SseEvent`](derive@SseEvent) on the
/// same type. Tests read it with [`ReceivedEvent::json`](testing::ReceivedEvent::json).
pub use sse_macros::SseError;
