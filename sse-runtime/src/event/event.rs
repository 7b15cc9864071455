//! [`Event`]: a value and the event fields defined by the standard.

use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;

use crate::event::{
    frame::{EncodeError, Fields, Frame, Head},
    id::EventId,
    name::{Comment, EventName, IntoField},
};

/// An event with explicit fields, for streams that need more than plain values. `yield_!` accepts
/// both events and plain values.
///
/// The `event`, `id` and `retry` methods are named after the fields in
/// [WHATWG HTML, section 9.2.6](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
/// `T` is the type of the value sent as JSON: either the stream's item type or a reference to it.
/// Events without JSON, such as text events and comments, can be sent on any stream.
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
    /// Whether to append the `~done` suffix to the id. A client that sends this id back receives a
    /// `204` and stops reconnecting. See [`Event::done`].
    pub(crate) done: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Data<T> {
    None,
    Json(T),
    Text(Cow<'static, str>),
}

/// The type parameter of an [`Event`] without JSON data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoJson {}

impl<T> Event<T> {
    /// Creates an event whose data is `value`, which can be a reference. It is encoded the same way
    /// as the stream's items, which are written as single-line JSON unless the item type is
    /// [`Text`](crate::Text) or [`Html`](axum::response::Html).
    pub fn json(value: T) -> Self {
        Self::with(Data::Json(value))
    }

    /// Sets the `event` field. Browser code passes this name to `addEventListener`. An event
    /// without a name arrives as `message`.
    ///
    /// For a name that is known only at run time, use [`EventName::new`].
    pub fn event(mut self, name: impl IntoField<EventName>) -> Self {
        self.fields.event = Some(name.into_field());
        self
    }

    /// Sets the `id` field, which the client sends back as `Last-Event-ID` when it reconnects.
    ///
    /// This method accepts a number, a UUID or a string literal. Convert any other string with
    /// [`EventId::new`], which returns an error if the string is not a valid id. If the stream
    /// cannot return this error, send the event without an id:
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
    /// Panics if `id` is a literal that is not a valid id. See [`EventId::from_static`].
    #[track_caller]
    pub fn id(mut self, id: impl IntoField<EventId>) -> Self {
        self.fields.id = Some(id.into_field());
        self
    }

    /// Sets the `retry` field, which tells the client how long to wait before it reconnects. The
    /// delay is sent in milliseconds, rounded up and capped at 2³¹ - 1 ms (24.8 days), the longest
    /// delay that a browser's timer supports.
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

    /// Returns whether the event has data. Clients dispatch only events that have data.
    pub(crate) fn has_data(&self) -> bool {
        !matches!(self.data, Data::None)
    }

    /// Gives the event an id that stops the client from reconnecting.
    pub(crate) fn stops(mut self) -> Self {
        self.done = true;
        self
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
    /// Creates an event whose data is `text`, which is not encoded as JSON.
    ///
    /// Accepts a `String` or a `&'static str`. LF, CR and CRLF each count as one line break and
    /// arrive as LF. For untrusted text, see [`Text`](crate::Text).
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::with(Data::Text(text.into()))
    }

    /// Creates a comment, which clients ignore. For text that is known only at run time, use
    /// [`Comment::new`].
    pub fn comment(comment: impl IntoField<Comment>) -> Self {
        Self::empty().with_comment(comment)
    }

    /// Creates a frame without data. Clients do not dispatch an event for this frame, but the
    /// frame's `id` and `retry` fields take effect.
    ///
    /// Set an id on this frame to move the client's last event ID past events that the handler has
    /// filtered out.
    pub fn empty() -> Self {
        Self::with(Data::None)
    }

    /// Creates a `done` event, which tells the client that the stream has ended permanently. A
    /// client that reconnects after this event receives a `204 No Content`, which stops an
    /// `EventSource` from reconnecting again.
    ///
    /// The data is `null`. The id is the last id sent (or the id set with [`id`](Self::id)),
    /// followed by the `~done` suffix. Return from the function after yielding this event, because
    /// events yielded after it would still be sent.
    ///
    /// If a client sends this id back in the `Last-Event-ID` header, the response depends on the
    /// function:
    ///
    /// - If the function does not extract a [`LastEventId<EventId>`](crate::LastEventId), the
    ///   response is `204`. The extractors still run, but the function body does not.
    /// - If the function does extract one, it runs until it uses the id to subscribe to a topic. If
    ///   the id belongs to that topic's epoch, the response is `204`. Otherwise, the stream begins
    ///   with a [`Gap`](crate::topic::Gap).
    /// - If the function extracts one but yields before subscribing, it is dropped and the response
    ///   is `204`. To prevent this, subscribe before the first `yield_!`.
    ///
    /// An id sent in the query string never results in a `204`. Instead, the function receives
    /// [`LastEventIdError::Done`](crate::event::LastEventIdError::Done).
    ///
    /// With `end = "stop"`, this event is sent whenever a generator finishes. A stream also sends
    /// this event once it has read all events of a finished topic.
    ///
    /// According to the standard
    /// ([WHATWG HTML, section 9.2.3](https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model)),
    /// any status other than 200 makes the client fail the connection and stop reconnecting.
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
