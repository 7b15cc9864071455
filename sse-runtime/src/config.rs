//! [`Endpoint`]: an endpoint's configuration, as set by its attribute.

use std::time::Duration;

use axum::http::Method;

/// Determines when yielded events are written to the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// Each event is written before the generator continues.
    #[default]
    Each,
    /// Events are buffered until the generator waits or 32 KiB has accumulated.
    Ready,
}

/// Determines the response to a client that reconnects after the generator has finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// A new stream, as `EventSource` expects.
    #[default]
    Reconnect,
    /// `204 No Content`, which stops an `EventSource` from reconnecting.
    Stop,
}

/// Determines how a stream behaves when the server shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShutdown {
    /// The stream closes at a random point within the drain time.
    Close,
    /// The stream continues until its generator finishes or the drain time has elapsed.
    Finish,
}

/// Determines how the response ends if the stream is closed before its generator has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCut {
    /// The response is aborted so that the client does not mistake it for a complete one.
    Abort,
    /// The response ends as if it were complete.
    End,
}

/// The events that a stream may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// The events that the function yields, along with those added by the framework: `done`, `gap`,
    /// `close` and the keep-alive event.
    All,
    /// Only the events that the function yields. A reconnection time is still sent, because it is a
    /// field rather than an event.
    Own,
}

/// An endpoint's configuration, taken from its attribute and its function.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) docs: &'static str,
    pub(crate) method: Method,
    pub(crate) item: fn() -> &'static str,
    pub(crate) flush: Flush,
    pub(crate) end: End,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) keep_alive_event: Option<&'static str>,
    pub(crate) retry: Option<Duration>,
    pub(crate) max_duration: Option<Duration>,
    pub(crate) head_after: Option<Duration>,
    pub(crate) error_event: &'static str,
    on_shutdown: Option<OnShutdown>,
    on_cut: Option<OnCut>,
    events: Option<Events>,
    #[cfg(feature = "openapi")]
    pub(crate) contract: Option<fn() -> crate::event::contract::Contract>,
}

/// The default value of `keep_alive`. The authoring notes in the HTML standard suggest this
/// interval because proxies drop idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl Endpoint {
    /// Creates a configuration with every key set to its default.
    pub fn new<T>(path: &'static str, name: &'static str) -> Self {
        Self {
            path,
            name,
            docs: "",
            method: Method::GET,
            item: std::any::type_name::<T>,
            flush: Flush::Each,
            end: End::Reconnect,
            keep_alive: Some(KEEP_ALIVE),
            keep_alive_event: None,
            retry: None,
            max_duration: None,
            head_after: None,
            error_event: "error",
            on_shutdown: None,
            on_cut: None,
            events: None,
            #[cfg(feature = "openapi")]
            contract: None,
        }
    }

    /// Sets the function's doc comment.
    pub fn docs(mut self, docs: &'static str) -> Self {
        self.docs = docs;
        self
    }

    /// Sets the `method` key.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the `keep_alive` key.
    pub fn keep_alive(mut self, after: Option<Duration>) -> Self {
        self.keep_alive = after;
        self
    }

    /// Sets the `keep_alive_event` key.
    pub fn keep_alive_event(mut self, name: &'static str) -> Self {
        self.keep_alive_event = Some(name);
        self
    }

    /// Sets the `retry` key.
    pub fn retry(mut self, delay: Duration) -> Self {
        self.retry = Some(delay);
        self
    }

    /// Sets the `flush` key.
    pub fn flush(mut self, flush: Flush) -> Self {
        self.flush = flush;
        self
    }

    /// Sets the `max_duration` key.
    pub fn max_duration(mut self, limit: Duration) -> Self {
        self.max_duration = Some(limit);
        self
    }

    /// Sets the `head_after` key.
    pub fn head_after(mut self, limit: Duration) -> Self {
        self.head_after = Some(limit);
        self
    }

    /// Sets the `end` key.
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Sets the `error_event` key.
    pub fn error_event(mut self, name: &'static str) -> Self {
        self.error_event = name;
        self
    }

    /// Sets the `on_shutdown` key.
    pub fn on_shutdown(mut self, behaviour: OnShutdown) -> Self {
        self.on_shutdown = Some(behaviour);
        self
    }

    /// Sets the `on_cut` key.
    pub fn on_cut(mut self, behaviour: OnCut) -> Self {
        self.on_cut = Some(behaviour);
        self
    }

    /// Sets the `events` key.
    pub fn events(mut self, events: Events) -> Self {
        self.events = Some(events);
        self
    }

    /// Sets the function that describes the endpoint's types.
    #[cfg(feature = "openapi")]
    pub fn described(mut self, contract: fn() -> crate::event::contract::Contract) -> Self {
        self.contract = Some(contract);
        self
    }

    pub(crate) fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// Returns whether the response is aborted if the stream is closed early. By default, this is
    /// the case for every method except `GET`. `GET` requests are usually sent by an `EventSource`,
    /// which reconnects and resumes after a response that ends cleanly. Other clients would mistake
    /// that response for a complete one.
    pub(crate) fn aborts_when_cut(&self) -> bool {
        let by_method = if self.is_get() {
            OnCut::End
        } else {
            OnCut::Abort
        };
        self.on_cut.unwrap_or(by_method) == OnCut::Abort
    }

    /// Returns whether the framework may add events. By default, the framework adds events only to
    /// responses to `GET` requests, because clients of `POST`-based protocols parse every event and
    /// do not recognize the framework's events.
    pub(crate) fn sends_framework_events(&self) -> bool {
        let by_method = if self.is_get() {
            Events::All
        } else {
            Events::Own
        };
        self.events.unwrap_or(by_method) == Events::All
    }

    /// Returns whether id-only frames are sent. These frames are meant for clients that send the id
    /// back when they reconnect, such as `EventSource`. Some other clients dispatch an event at
    /// every blank line, even if the frame has no data.
    pub(crate) fn sends_bare_ids(&self) -> bool {
        self.is_get() && self.sends_framework_events()
    }

    /// Returns whether an error can have an id that stops the client from reconnecting. Only an
    /// `EventSource`, and clients that know the framework's events, send the id back.
    pub(crate) fn sends_stop_ids(&self) -> bool {
        self.is_get() || self.sends_framework_events()
    }

    /// Returns how the endpoint's streams behave when the server shuts down. By default, the
    /// streams of `GET` requests are closed early, because browsers repeat these requests. Other
    /// streams continue, because their requests may not be safe to repeat.
    pub(crate) fn when_shut_down(&self) -> OnShutdown {
        let by_method = if self.is_get() {
            OnShutdown::Close
        } else {
            OnShutdown::Finish
        };
        self.on_shutdown.unwrap_or(by_method)
    }
}
