//! What the attribute says of an endpoint.

use std::time::Duration;

use axum::http::Method;

/// When what was yielded goes to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// Each event, before the generator goes on.
    #[default]
    Each,
    /// As soon as the generator waits, or 32 KiB are due.
    Ready,
}

/// What a client that comes back after the generator finished gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// A new run, as `EventSource` has it.
    #[default]
    Reconnect,
    /// `204 No Content`, which stops it.
    Stop,
}

/// What a stream does when its server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShutdown {
    /// It ends, at a moment of its own.
    Close,
    /// It runs on until it ends by itself, or the drain time does.
    Finish,
}

/// How the response of a stream that was cut before its generator ended is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCut {
    /// It breaks off, so that the client does not take it for a whole answer.
    Abort,
    /// It ends as a whole response does.
    End,
}

/// The events that a stream may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// Those that the function yields, and those of the framework: `done`, `gap`, `close`, the keep-alive's.
    All,
    /// Only those that the function yields.
    Own,
}

/// An endpoint, as its attribute and its function describe it.
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
    pub(crate) error_event: &'static str,
    on_shutdown: Option<OnShutdown>,
    on_cut: Option<OnCut>,
    events: Option<Events>,
}

/// The default of `keep_alive`: what the standard's authoring notes suggest against proxies that cut quiet connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl Endpoint {
    /// An endpoint with every key at its default.
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
            error_event: "error",
            on_shutdown: None,
            on_cut: None,
            events: None,
        }
    }

    /// The doc comment of the function.
    pub fn docs(mut self, docs: &'static str) -> Self {
        self.docs = docs;
        self
    }

    /// The key `method`.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// The key `keep_alive`.
    pub fn keep_alive(mut self, after: Option<Duration>) -> Self {
        self.keep_alive = after;
        self
    }

    /// The key `keep_alive_event`.
    pub fn keep_alive_event(mut self, name: &'static str) -> Self {
        self.keep_alive_event = Some(name);
        self
    }

    /// The key `retry`.
    pub fn retry(mut self, delay: Duration) -> Self {
        self.retry = Some(delay);
        self
    }

    /// The key `flush`.
    pub fn flush(mut self, flush: Flush) -> Self {
        self.flush = flush;
        self
    }

    /// The key `max_duration`.
    pub fn max_duration(mut self, limit: Duration) -> Self {
        self.max_duration = Some(limit);
        self
    }

    /// The key `end`.
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// The key `error_event`.
    pub fn error_event(mut self, name: &'static str) -> Self {
        self.error_event = name;
        self
    }

    /// The key `on_shutdown`.
    pub fn on_shutdown(mut self, what: OnShutdown) -> Self {
        self.on_shutdown = Some(what);
        self
    }

    /// The key `on_cut`.
    pub fn on_cut(mut self, what: OnCut) -> Self {
        self.on_cut = Some(what);
        self
    }

    /// The key `events`.
    pub fn events(mut self, events: Events) -> Self {
        self.events = Some(events);
        self
    }

    fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// Whether a stream that is cut breaks off. An `EventSource`, which only sends `GET`, reconnects after a clean end and
    /// resumes; to any other client a clean end says that the answer is complete.
    pub(crate) fn aborts_when_cut(&self) -> bool {
        let by_method = if self.is_get() {
            OnCut::End
        } else {
            OnCut::Abort
        };
        self.on_cut.unwrap_or(by_method) == OnCut::Abort
    }

    /// Whether the framework may send events of its own. Protocols over `POST` parse each event, and know none of them.
    pub(crate) fn sends_framework_events(&self) -> bool {
        let by_method = if self.is_get() {
            Events::All
        } else {
            Events::Own
        };
        self.events.unwrap_or(by_method) == Events::All
    }

    /// Whether frames that hold only an id are sent. They are for clients that send the id when they reconnect, which an
    /// `EventSource` does; some other clients take each blank line for an event.
    pub(crate) fn sends_bare_ids(&self) -> bool {
        self.is_get() && self.sends_framework_events()
    }

    /// What its streams do when the server stops. A `GET` comes back by itself, so it can be closed; what was sent for
    /// with another method may not be asked for twice.
    pub(crate) fn when_shut_down(&self) -> OnShutdown {
        let by_method = if self.is_get() {
            OnShutdown::Close
        } else {
            OnShutdown::Finish
        };
        self.on_shutdown.unwrap_or(by_method)
    }
}
