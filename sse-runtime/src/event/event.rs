//! [`Event`]: a value with the fields that the standard defines for an event.

use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;

use crate::event::{
    frame::{EncodeError, Fields, Frame, Head},
    id::EventId,
    name::{Comment, EventName, IntoField},
};

/// An event with its fields, for streams that need more than plain values. `yield_!` accepts both.
///
/// Its methods are named after the fields in
/// [WHATWG HTML, section 9.2.6](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
/// `T` is the type of its JSON: the stream's item, or a reference to it. Events without JSON, such
/// as text and comments, can be sent on every stream.
///
/// ```
/// use std::time::Duration;
/// use sse_runtime::{Event, Stream, sse_endpoint};
///
/// #[derive(serde::Serialize)]
/// struct Tick { price: u32 }
///
/// #[sse_endpoint("/ticks")]
/// async fn ticks() -> impl Stream<Item = Tick> {
///     yield_!(Event::comment("warming up"));
///     for seq in 1_u64..=3 {
///         let tick = Tick { price: 100 };
///         yield_!(Event::json(&tick).id(seq).event("tick").retry(Duration::from_secs(3)));
///     }
///     yield_!(Event::done());
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an event does nothing unless it is yielded"]
pub struct Event<T = NoJson> {
    pub(crate) fields: Fields,
    pub(crate) data: Data<T>,
    /// Whether the id gets the suffix that stops a client for good; see [`Event::done`].
    pub(crate) done: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Data<T> {
    None,
    Json(T),
    Text(Cow<'static, str>),
}

/// The type parameter of an [`Event`] without JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoJson {}

impl<T> Event<T> {
    /// Creates an event with `value`, or the value that it refers to, as its data. The data is
    /// encoded like the stream's items: as one line of JSON, unless the item is
    /// [`Text`](crate::Text) or [`Html`](axum::response::Html).
    pub fn json(value: T) -> Self {
        Self::with(Data::Json(value))
    }

    /// Sets the `event` field: the name that a browser passes to `addEventListener`. Without it,
    /// the event arrives as `message`.
    ///
    /// Convert text that is only known at run time with [`EventName::new`].
    pub fn event(mut self, name: impl IntoField<EventName>) -> Self {
        self.fields.event = Some(name.into_field());
        self
    }

    /// Sets the `id` field, which the client sends back as `Last-Event-ID` when it reconnects.
    ///
    /// It accepts a number, a UUID or a literal. Convert other text with [`EventId::new`], which
    /// returns an error if the text is not visible ASCII. If that error cannot become an error of
    /// the stream, send the event without an id:
    ///
    /// ```
    /// # use sse_runtime::{Event, EventId};
    /// # let (value, key) = (1, String::from("orders/7"));
    /// let mut event = Event::json(value);
    /// if let Ok(id) = EventId::new(key) {
    ///     event = event.id(id);
    /// }
    /// # drop(event);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a literal is not a valid id, see [`EventId::from_static`].
    #[track_caller]
    pub fn id(mut self, id: impl IntoField<EventId>) -> Self {
        self.fields.id = Some(id.into_field());
        self
    }

    /// Sets the `retry` field: the time that the client waits before it reconnects. The time is
    /// sent in whole milliseconds, rounded up and capped at 2³¹ - 1 ms (24.8 days), the maximum of
    /// a browser's timer.
    pub fn retry(mut self, delay: Duration) -> Self {
        self.fields.retry = Some(delay);
        self
    }

    /// Adds a comment before the fields, in the same frame.
    pub fn with_comment(mut self, comment: impl IntoField<Comment>) -> Self {
        self.fields.comment = Some(comment.into_field());
        self
    }

    fn with(data: Data<T>) -> Self {
        Self {
            fields: Fields::default(),
            data,
            done: false,
        }
    }

    /// Returns whether the event has data. A client dispatches only events that do.
    pub(crate) fn has_data(&self) -> bool {
        !matches!(self.data, Data::None)
    }

    /// Writes the frame and returns the id that the event sets, if any.
    pub(crate) fn encode(
        mut self,
        last: Option<&EventId>,
        buffer: &mut BytesMut,
        json: impl FnOnce(&T, &mut Frame<'_>) -> Result<(), EncodeError>,
    ) -> Result<Option<EventId>, EncodeError> {
        if self.done {
            let id = self.fields.id.as_ref().or(last);
            self.fields.id = Some(EventId::done(id));
        }
        let mut frame = Frame::new(buffer, &self.fields);
        match &self.data {
            Data::None => {}
            Data::Json(value) => json(value, &mut frame)?,
            Data::Text(text) => frame.text(Head::default(), text),
        }
        let id = frame.finish();
        Ok(self.fields.id.or(id))
    }
}

impl Event {
    /// Creates an event whose data is this text, sent unchanged rather than as JSON.
    ///
    /// LF, CR and CRLF each count as one line break and arrive as LF. It accepts a `String` or a
    /// `&'static str`. For untrusted text, see [`Text`](crate::Text).
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::with(Data::Text(text.into()))
    }

    /// Creates a comment, which clients skip. Convert text that is only known at run time with
    /// [`Comment::new`].
    pub fn comment(comment: impl IntoField<Comment>) -> Self {
        Self::empty().with_comment(comment)
    }

    /// Creates a frame without data. It dispatches no event, but its `id` and `retry` take effect.
    ///
    /// With an id, it advances the client's last event ID past events that were filtered out.
    pub fn empty() -> Self {
        Self::with(Data::None)
    }

    /// Creates a `done` event, which announces that the stream is over for good. A client that
    /// reconnects after it receives `204 No Content`, which stops an `EventSource` permanently.
    ///
    /// Its data is `null`. Its id is the last one sent (or the one set with [`id`](Self::id)),
    /// followed by the suffix `~done`. Return from the function after this event, because anything
    /// yielded after it is still sent.
    ///
    /// If a client sends such an id back in the `Last-Event-ID` header, the response depends on the
    /// function:
    ///
    /// - If it does not extract a [`LastEventId`](crate::LastEventId) with an [`EventId`], it does
    ///   not run. The response is `204`, after the extractors have run.
    /// - If it extracts one, it runs until it subscribes to a topic with the id. If the id belongs
    ///   to that topic's epoch, the response is `204`; otherwise, the stream begins with a
    ///   [`Gap`](crate::topic::Gap).
    /// - If it yields before it has subscribed, it is stopped there and the response is `204`, so
    ///   subscribe before the first `yield_!`.
    ///
    /// An id in the query parameter never leads to a `204`: the function receives
    /// [`LastEventIdError::Done`](crate::event::LastEventIdError::Done).
    ///
    /// With the key `end = "stop"`, every generator that finishes sends this event, as does a
    /// stream that has read a finished topic to its end.
    ///
    /// Source: [WHATWG HTML, section 9.2.3](https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model):
    /// any status but 200 fails the connection for good.
    pub fn done() -> Self {
        let mut event = Self::text("null").event("done");
        event.done = true;
        event
    }
}

impl<T> From<T> for Event<T> {
    fn from(value: T) -> Self {
        Self::json(value)
    }
}
