//! Documentation for the macros, which are implemented in the `sse-macros` crate.

/// Turns an `async fn` that yields values into an event endpoint.
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
/// /// The steps of an order, as they happen.
/// #[sse_endpoint("/orders/{id}/steps", retry = "3s", end = "stop")]
/// async fn order_steps(
///     State(orders): State<Orders>,
///     Path(id): Path<u64>,
/// ) -> Result<impl Stream<Item = Step>, StatusCode> {
///     // Before the first `yield_!`, an error still determines the status of the response.
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
/// `#[sse_endpoint("/path/{param}", key = value, …)]` goes on a free `async fn`. The path uses
/// axum's syntax. It is checked at compile time, as are all values. Durations are strings such as
/// `"500ms"`, `"15s"`, `"5m"` or `"1h 30m"`.
///
/// The value of `method` is not quoted, as in `#[sse_endpoint("/answers/{id}", method = POST)]`.
///
/// | key | value | default | meaning |
/// | --- | --- | --- | --- |
/// | `method` | `GET`, `POST`, `PUT`, `PATCH`, `DELETE` | `GET` | a browser's `EventSource` sends `GET`; the others are for `fetch` |
/// | `keep_alive` | a duration, `"off"` | `"15s"` | sends a comment (a line that contains only `:`) after this much silence |
/// | `keep_alive_event` | an event name | none | sends the keep-alive as an event with this name and the data `null` so that scripts see it |
/// | `retry` | a duration | none | the reconnection time, sent together with the head |
/// | `flush` | `"each"`, `"ready"` | `"each"` | `each`: an event reaches the kernel before the generator resumes; `ready`: events yielded without waiting in between share a write of up to 32 KiB |
/// | `head_after` | a duration | none | sends the head if the statements before the response take longer than this, so that no proxy responds with an error first (nginx does so after 60 seconds); an error returned after that is sent as an `error_event` with the error's JSON body, or aborts the response with `events = "own"` (only if the function returns a `Result`) |
/// | `max_duration` | a duration | none | ends the stream after this long, minus up to 20% at random so that clients do not all reconnect at the same time |
/// | `end` | `"reconnect"`, `"stop"` | `"reconnect"` | what happens if a client reconnects after the generator has finished: `reconnect` runs the function again; `stop` ends the stream with a `done` event and responds with a `204` to a client that sends back that event's id, which stops an `EventSource` from reconnecting |
/// | `error_event` | an event name | `"error"` | the name of the event that reports an error in the stream |
/// | `on_shutdown` | `"close"`, `"finish"` | `"close"` for GET, else `"finish"` | when the server shuts down, `close` ends the stream at a random moment within the drain time, and `finish` lets it run until it ends by itself or the drain time elapses (20 s after SIGTERM by default, 1 s after SIGINT; see [`Server`](crate::Server#graceful-shutdown)) |
/// | `on_cut` | `"abort"`, `"end"` | `"end"` for GET, else `"abort"` | if the stream is closed before its function finishes, `abort` aborts the response, and `end` ends it as if it were complete |
/// | `events` | `"all"`, `"own"` | `"all"` for GET, else `"own"` | with `own`, the stream sends only comments and the events that the function yields; `all` adds `done`, `gap`, `close` and the keep-alive event |
/// | `allow` | `allow(unread_capture, few_captures)` | none | silences the given [warnings](#warnings) |
/// | `crate` | a path | `::sse_runtime` | for a renamed dependency: `crate = ::my_sse` |
///
/// # Arguments
///
/// The arguments are axum extractors, up to 16 of them. As in axum, only the last one can consume
/// the body. Rejections are handled as in axum. [`LastEventId`](crate::LastEventId) is also an
/// extractor. `#[cfg]` works on arguments and anywhere in the body. A `yield_!` removed by `#[cfg]`
/// does not count as the first `yield_!`.
///
/// # Return types
///
/// The return type determines the stream's item type and when the response begins. In this table,
/// "the first one that yields" is the first statement in the function's outermost block that has a
/// `yield_!` anywhere inside it.
///
/// | return type | statements before the first one that yields | in the stream |
/// | --- | --- | --- |
/// | `impl Stream<Item = T>` | are part of the stream: the head is sent when the generator first waits | `?` does not compile |
/// | `impl Stream<Item = Result<T, E>>` | are part of the stream | `?` and `return Err(e)` end it with `event: error`, the error as JSON in `data` |
/// | `Result<impl Stream<Item = T>, R>` | run before the response: `?` and `return Err(r)` determine its status | `?` does not compile |
/// | `Result<impl Stream<Item = Result<T, E>>, R>` | as above | as in the second row |
///
/// In this endpoint, the loop is the first statement that yields, so the response begins with it:
///
/// ```
/// # use axum::http::StatusCode;
/// # use sse_runtime::{Stream, sse_endpoint};
/// # #[derive(serde::Serialize)] struct Broken;
/// # async fn open() -> Result<Vec<Result<u32, Broken>>, StatusCode> { Ok(Vec::new()) }
/// #[sse_endpoint("/steps")]
/// async fn steps() -> Result<impl Stream<Item = Result<u32, Broken>>, StatusCode> {
///     let steps = open().await?;     // before the response: an error determines its status
///     for step in steps {
///         let step = step?;          // in the stream: an error becomes an event
///         yield_!(step);
///     }
/// }
/// ```
///
/// `T` and `E` must implement [`Payload`](crate::event::Payload). All [`serde::Serialize`] types,
/// [`Text`](crate::Text) and axum's `Html` do. `R` must implement `axum::response::IntoResponse`.
/// `R` does not have to represent a failure: it can be a redirect or a plain JSON object, for
/// example. If you add a `yield_!` at the top of the function, no statement precedes it, so every
/// `?` sends an event instead of setting the status. Variables bound before the first `yield_!`
/// live until the stream ends. In a function that returns a `Result<impl Stream<…>, R>`, a
/// `return;` before the response begins results in a `204`. In all other cases, `return;` ends the
/// stream.
///
/// # Yielding
///
/// `yield_!(value)` accepts a `T` (not `Ok(T)`), a `&T`, or an [`Event`](crate::Event) of either.
/// `yield_all!(stream)` yields every item of another stream. Its items must be values that
/// `yield_!` accepts. If the endpoint's item type is a `Result`, they can also be `Result`s of such
/// values. If the type of an expression depends on the context, as with `x.into()`, `"1".parse()?`,
/// `iter.collect()` or `Default::default()`, the compiler infers the item type. Both macros are in
/// scope only inside the function.
///
/// `yield_!` works wherever an `.await` would, including inside `tokio::select!`. Using `yield_!`
/// in a closure or in a nested `async` block is an error. If the block is an argument of another
/// macro, however, the code may compile, because an attribute cannot inspect the arguments of other
/// macros. An event yielded in such a block is sent even if the block is dropped before it
/// completes.
///
/// A yield is an `.await`. Unless the endpoint sets `flush = "ready"`, a yield completes only once
/// the event has been handed to the kernel. If the client stops reading, a yield may therefore wait
/// until the client disconnects. Under plain `axum::serve` and over HTTP/2, flushing is best effort
/// (see [Limitations](crate::limitations)). Holding a std lock guard across a yield does not
/// compile. Holding a tokio guard compiles, but the lock stays held while the yield waits (see the
/// `lock_across_yield` warning). Clone the guarded value before the yield instead.
///
/// # Splitting a long generator
///
/// `yield_!` is available only inside the endpoint itself. To split a long generator, move part of
/// it into a function that returns a stream and yield that stream with `yield_all!`. If that part
/// yields a single value, the function can return the value itself. Streams can be created with
/// `tokio-stream` (from iterators and channels) or `async-stream` (from a generator).
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
/// # The expansion
///
/// The attribute generates a function that has the same name, takes no arguments and returns the
/// route. Add the route to a router with `Router::new().sse(clock)`, `.sse(clock().layer(auth))` or
/// `.route("/v2/clock", clock().into_method_router())`. Doc comments, `#[cfg]`, `#[deprecated]`,
/// lint attributes and the visibility are moved to the generated function. Other attributes are
/// moved to the inner function. For example, if you write `#[tracing::instrument]` below this
/// attribute, the generator is polled inside the span created by `instrument` until the stream
/// ends. Attributes that read only the signature go above this one. `#[utoipa::path]` does not know
/// the events of a stream, so describe endpoints with [`openapi::Api`](crate::openapi::Api) instead.
/// `#[axum::debug_handler]` cannot be used, because the generated function is not a plain axum
/// handler.
///
/// # Warnings
///
/// Code that is probably wrong but may be intentional triggers a warning. To silence a warning,
/// pass its name to `allow(…)`:
///
/// | name | meaning |
/// | --- | --- |
/// | `unread_capture` | the path has a capture, but none of the arguments reads the path |
/// | `few_captures` | `Path<…>` takes fewer values than the path has captures (captures of an outer `nest` also count) |
/// | `body_on_get` | an argument reads the body (`Json`, `String`, `Bytes`, `Multipart`), but the method is `GET`, which has no body |
/// | `blocking_call` | a call blocks the thread and therefore all streams on it: `std::thread::sleep`, reads and writes in `std::fs`, `std::net::TcpStream::connect`, `block_on`, or a method such as `.blocking_recv()` |
/// | `detached_task` | the handle of a `tokio::spawn(…)` is dropped immediately, so the task continues after the client has disconnected |
/// | `busy_loop` | a `loop` or `while true` never waits, yields or exits, so it never releases the thread |
/// | `early_yield` | a `?` or a `return Err(…)` between the first `yield_!` and the next statement that yields would set the status if the first `yield_!` came later (only if the response and the stream have the same error type) |
/// | `finish_without_end` | `on_shutdown = "finish"` on a function with a loop that never exits |
/// | `lock_across_yield` | the guard of a `.lock().await`, `.read().await` or `.write().await` is held across a `yield_!`, and therefore while the stream waits for a slow client |
/// | `reserved_name` | `keep_alive_event` or `error_event` is the name of one of the framework's events (`close`, `done`, `gap`, and for the keep-alive `error`) or of one of `EventSource`'s (`open`, and for the keep-alive `message`) |
///
/// Calls in the body are recognized only if they are written with their full path, starting with
/// the crate (`std::fs::read(…)`, not `read(…)`). Calls inside closures are ignored, because code
/// such as `spawn_blocking(|| std::fs::read(…))` is correct.
///
/// # Cancel safety
///
/// Like any axum handler, the generator may be dropped at any `.await`. Work that must always
/// complete belongs in a destructor or in a separate task (with `allow(detached_task)` if the
/// task's handle is not awaited).
pub use sse_macros::sse_endpoint;

/// Turns a type into an event type. Each variant becomes an event with its own name.
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
///     Html(String),                      // event: html       data: the text, one field per line
///     #[sse(message)]
///     Plain(Note),                       // no `event` field: arrives as `message`
///     Finished,                          // event: finished   data: empty, but still dispatched
/// }
///
/// #[sse_endpoint("/chat")]
/// async fn chat() -> impl Stream<Item = ChatEvent> {
///     yield_!(ChatEvent::Token { text: "Hi".to_owned() });
///     yield_!(ChatEvent::Finished);
/// }
/// ```
///
/// In the browser, listen for an event by its name:
/// `source.addEventListener("token", (event) => show(JSON.parse(event.data).text))`.
///
/// # Supported types
///
/// Both enums and structs are supported, and they may have type parameters and lifetimes. The
/// derive also implements `serde::Serialize` and supports all of serde's attributes on the type,
/// its variants and its fields. Deriving `Serialize` as well is an error, because the type would
/// then have two implementations of the trait. `SseEvent` cannot omit its own implementation in
/// this case, because a derive cannot see the other derives on the type.
///
/// If the yielded value is of this type, or is an `Option`, a `Box` or a newtype around a value of
/// this type, the event is named after the variant. Its data is the variant's content, without the
/// tag. If the value is nested in another value, such as a struct or a list, it is serialized as
/// plain JSON. Outside of event streams, the type is serialized as if it used serde's own derive. A
/// handler can therefore return `Json(event)`, and `serde_json` can deserialize the result.
///
/// The type can be used wherever a [`Payload`](crate::event::Payload) is expected: as an item, as
/// an error, or in [`Event::json`](crate::Event::json). If the type is a stream's error type, the
/// event is named after the variant, or after the endpoint's `error_event` if the variant has no
/// name. If an event created with [`Event::json`](crate::Event::json) sets its own `event`, `id` or
/// `retry`, these values take precedence over the type's. The type does not implement
/// `IntoResponse`, so it cannot be returned as an error before the stream begins. Use another type
/// for that error, or derive [`SseError`](derive@SseError) instead.
///
/// Event names and serde's names are independent. `#[serde(rename = "…")]` sets the tag in a
/// handler's JSON. `#[sse(event = "…")]` sets the event's name. With `#[serde(tag = "type")]` or
/// `#[serde(untagged)]`, the data is serde's representation of the whole value. If that
/// representation includes a tag, clients find it in the data.
///
/// If you also derive `serde::Deserialize`, the test client can read the event back (see
/// [`ReceivedEvent::decode`](crate::testing::ReceivedEvent::decode)). Fields with `#[serde(skip)]`,
/// such as a field that serves only as the id, are then set to their defaults.
///
/// # Attributes
///
/// | attribute | on | meaning |
/// | --- | --- | --- |
/// | `event = "tool-call"` | variant, struct | the event's name; the default is the name of the variant or the struct in `snake_case` |
/// | `rename_all = "kebab-case"` | enum | the case of names that are not set explicitly, with serde's rules (`snake_case` by default) |
/// | `message` | variant, struct | the event has no name, so a browser's `onmessage` receives it |
/// | `text` | variant, struct of one unnamed field | the data is this text, sent unchanged rather than as JSON |
/// | `id` | field | the field is also the event's id (with `#[serde(skip)]`, only its id): a number, an [`EventId`](crate::EventId), a `uuid::Uuid` (feature `uuid`), or an `Option` of one of these |
/// | `allow(reserved_name)` | variant, type | silences the warning about the names `close`, `done`, `error` and `gap`, which the framework uses for its own events, and `open`, which `EventSource` uses |
/// | `crate = ::my_sse` | type | for a renamed dependency |
///
/// Event names are checked at compile time: a name must not be empty or contain line breaks, and
/// each variant must have a different name. A variant can hold a single value, named fields, or
/// nothing.
pub use sse_macros::SseEvent;

/// Makes a type usable as an error both before and after the first event. Before the first event,
/// the error becomes an HTTP response. Afterwards, it becomes an event.
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
///     #[error("the model is busy, try again in {after:?}")]
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
///         yield_!(word);                         // from here on, `?` sends `event: error`
///     }
/// }
/// ```
///
/// In both cases, the error is sent as a JSON problem details object, as defined by
/// [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457). Before the stream begins, this object is the
/// body of an `application/problem+json` response with the error's status. In the stream, it is the
/// `data` of the endpoint's `error_event`.
///
/// ```json
/// {"title":"Too Many Requests","code":"busy","status":429,"after":30}
/// ```
///
/// `code` is the variant's name, which scripts can use to distinguish errors. The variant's fields
/// follow under their own names. A field called `type`, `title`, `detail`, `instance` or `code`
/// replaces the standard member of the same name. A field with `#[sse(retry_after)]` keeps browsers
/// from reconnecting too soon. In a response, its value is sent as the `Retry-After` header. In an
/// event, it is sent as the `retry` field.
///
/// # Hidden details
///
/// Clients see only named fields whose types implement `serde::Serialize`. The following are
/// hidden: unnamed fields, fields that do not implement `Serialize`, fields with `#[serde(skip)]`,
/// and the error's cause (`#[from]`, `#[source]`, `#[backtrace]`, or a field called `source` or
/// `backtrace`). If a variant wraps another error, the response therefore depends only on the
/// variant, and its status is 500 unless you specify another one. With `#[sse(transparent)]` on the
/// variant, the wrapped error determines the whole response. The wrapped error must also implement
/// `SseError`. To show text to the client, add a field called `detail` to the variant. The
/// `Display` output appears only in the log, together with the error's sources. Before the stream
/// begins, an error with a 5xx status is logged at `error`, and one with a 4xx status at `debug`.
/// In the stream, every error is logged at `warn`.
///
/// # Attributes
///
/// | attribute | on | meaning |
/// | --- | --- | --- |
/// | `status = 429` | variant, type | the status, from 400 to 599 (500 by default); on an enum, it applies to variants without their own status |
/// | `title = "…"` | variant, struct | a one-line summary for people; by default, the reason phrase for the status |
/// | `detail = "…"` | variant, struct | a longer explanation (a field called `detail` sets it per error) |
/// | `type = "https://…"` | variant, struct | a URI that identifies the kind of problem (none by default) |
/// | `code = "…"` | variant, struct | the error's code; the default is the name of the variant or the struct in `snake_case` |
/// | `rename_all = "kebab-case"` | enum | the case of codes that are not set explicitly, with serde's rules |
/// | `stop` | variant, struct | the error is permanent: if it occurs in a stream, its event has an id that stops a browser from reconnecting (its next request receives a `204`; no id is sent with `events = "own"` on methods other than `GET`); without this attribute, a browser reconnects, and the function runs again |
/// | `transparent` | variant | the only field, an `SseError`, determines the whole error, including its status, members and `Retry-After` |
/// | `retry_after` | field | how long to wait before reconnecting: a `Duration`, a number of whole seconds, or an `Option` of either (sent as whole seconds) |
/// | `crate = ::my_sse` | type | for a renamed dependency |
///
/// Fields accept serde's `rename`, `skip`, `skip_serializing` and `skip_serializing_if` attributes.
/// The derive implements `serde::Serialize`, `axum::response::IntoResponse` and
/// [`trait@SseError`](trait@crate::SseError). [`SseEvent`](derive@SseEvent) also implements
/// `Serialize`, so a type cannot derive both. Tests can read the error with
/// [`ReceivedEvent::json`](crate::testing::ReceivedEvent::json).
pub use sse_macros::SseError;
