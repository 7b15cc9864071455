//! [`SseEvent`]: types whose values bring the fields of their event with them.

use serde::Serialize;

use crate::event::{frame::Head, id::EventId};

/// An event type: an enum whose variants are events of their own name, or a struct that is one.
///
/// It is implemented by its derive, see [the macro of the same name](derive@crate::SseEvent).
pub trait SseEvent: Serialize {
    #[doc(hidden)]
    const SHAPE: Shape;
}

/// What a client has to know of a type to read it back.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A struct.
    Struct(Named),
    /// The variants that serde's `Deserialize` knows, in its order.
    Enum(&'static [Named]),
    /// The same, where serde is told to write something else than the tag around the content: all of it is the data.
    Whole(&'static [Named]),
}

/// A variant, or a struct.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// `None`, where it arrives as `message`.
    pub event: Option<&'static str>,
    /// What its data is.
    pub data: NamedData,
}

/// What the data of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedData {
    /// JSON.
    Json,
    /// Text as it is.
    Text,
    /// Nothing: there are no fields.
    Empty,
}

impl Head {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the `event` field to what was checked when it was compiled.
    pub fn event(mut self, name: &'static str) -> Self {
        self.event = Some(name);
        self
    }

    /// Sets the `id` field, where there is one.
    pub fn id(mut self, id: Option<EventId>) -> Self {
        self.id = id;
        self
    }

    /// Says that what serde writes is the data.
    pub fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    /// Says that the data is text; see [`is_text`].
    pub fn text(mut self, (): ()) -> Self {
        self.is_text = true;
        self
    }
}

/// Stands in for what serde's derive leaves out when it has refused an attribute: it has said so, and nobody is to be
/// told of our copy of the type, which then is not `Serialize`. Its own function comes first where there is one.
pub trait SaidBySerde: Sized {
    /// Never called: what calls it does not compile.
    fn serialize<T: ?Sized, S: serde::Serializer>(_: &T, _: S) -> Result<S::Ok, S::Error> {
        unreachable!("serde's derive has refused the type")
    }
}

impl<T> SaidBySerde for T {}

/// What can stand in a field with `#[sse(id)]`: a number, a UUID, an [`EventId`], or an `Option` of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` may hold what an event's id cannot",
    label = "this cannot be the id of an event",
    note = "`#[sse(id)]` goes on a number, an `EventId`, a `uuid::Uuid` (with the feature `uuid` of `sse-runtime`), or an `Option` of one; text becomes an `EventId` with `EventId::new(text)`, which returns a `Result`"
)]
pub trait IdField {
    #[doc(hidden)]
    fn event_id(&self) -> Option<EventId>;
}

impl IdField for EventId {
    fn event_id(&self) -> Option<EventId> {
        Some(self.clone())
    }
}

impl<T: IdField> IdField for Option<T> {
    fn event_id(&self) -> Option<EventId> {
        self.as_ref().and_then(T::event_id)
    }
}

impl<T: IdField + ?Sized> IdField for &T {
    fn event_id(&self) -> Option<EventId> {
        (**self).event_id()
    }
}

macro_rules! id_fields {
    ($($value:ty),*) => {$(
        impl IdField for $value {
            fn event_id(&self) -> Option<EventId> {
                Some((*self).into())
            }
        }
    )*};
}

id_fields!(
    u8, u16, u32, u64, usize, u128, i8, i16, i32, i64, i128, isize
);
#[cfg(feature = "uuid")]
id_fields!(uuid::Uuid);

/// The id in a field.
pub fn event_id<T: IdField>(field: &T) -> Option<EventId> {
    field.event_id()
}

/// What can stand in a variant with `#[sse(text)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no text",
    label = "this cannot be sent as text",
    note = "`#[sse(text)]` goes on a `String`, or on what is `AsRef<str>`; without it the value is sent as JSON"
)]
pub trait IsText {}

#[diagnostic::do_not_recommend]
impl<T: AsRef<str> + ?Sized> IsText for T {}

/// Checks that a field is text.
pub fn is_text<T: IsText + ?Sized>(_: &T) {}
