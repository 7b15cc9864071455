//! [`SseEvent`]: a trait for types that set the fields of their events.

use serde::Serialize;

use crate::event::{frame::Head, id::EventId};

/// An event type: either an enum whose variants are named events or a struct that represents a
/// single event.
///
/// Derive this trait with [the macro of the same name](derive@crate::SseEvent).
pub trait SseEvent: Serialize {
    #[doc(hidden)]
    const SHAPE: Shape;

    #[cfg(feature = "openapi")]
    #[doc(hidden)]
    fn variants() -> crate::event::contract::Variants;
}

/// The information needed to decode a type's values.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A struct.
    Struct(Named),
    /// An enum. The variants are in the order used by serde's `Deserialize`.
    Enum(&'static [Named]),
    /// An enum whose serde attributes select a representation other than the externally tagged one.
    /// The data is the whole value.
    Whole(&'static [Named]),
}

/// A variant or a struct.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The event's name, or `None` if the event arrives as `message`.
    pub event: Option<&'static str>,
    /// The format of the event's data.
    pub data: NamedData,
}

/// The format of an event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedData {
    /// JSON.
    Json,
    /// Text, unchanged.
    Text,
    /// Empty, because the variant or struct has no fields.
    Empty,
}

impl Head {
    /// Creates a head without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the `event` field. The name has already been checked at compile time.
    pub fn event(mut self, name: &'static str) -> Self {
        self.event = Some(name);
        self
    }

    /// Sets the `id` field if `id` is not `None`.
    pub fn id(mut self, id: Option<EventId>) -> Self {
        self.id = id;
        self
    }

    /// Marks the data as serde's complete output, which has no tag to strip.
    pub fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    /// Marks the data as text. The unit argument comes from [`is_text`], which checks the field's
    /// type at compile time.
    pub fn text(mut self, (): ()) -> Self {
        self.is_text = true;
        self
    }
}

/// A fallback for the `serialize` function, which serde's derive does not generate if it rejects an
/// attribute.
///
/// The derive has already reported the mistake. Without this fallback, the compiler would also
/// report that the macro's copy of the type does not implement `Serialize`. If serde's derive does
/// generate the function, that function takes precedence.
pub trait SaidBySerde: Sized {
    /// Never runs, because a program that calls it does not compile.
    fn serialize<T: ?Sized, S: serde::Serializer>(_: &T, _: S) -> Result<S::Ok, S::Error> {
        unreachable!("serde's derive has rejected the type")
    }
}

impl<T> SaidBySerde for T {}

/// Types allowed for a field marked with `#[sse(id)]`: integers, UUIDs, [`EventId`] and `Option`s
/// of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as an event ID",
    label = "this cannot be an event ID",
    note = "`#[sse(id)]` requires an integer, an `EventId`, a `uuid::Uuid` (with the `uuid` feature of `sse-runtime`), or an `Option` of one of them; convert text with `EventId::new(text)`, which returns a `Result`"
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

/// Returns the id stored in a field.
pub fn event_id<T: IdField>(field: &T) -> Option<EventId> {
    field.event_id()
}

/// Types allowed for the field of a variant marked with `#[sse(text)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as text",
    label = "this cannot be sent as text",
    note = "`#[sse(text)]` requires a `String` or another type that implements `AsRef<str>`; without `#[sse(text)]`, the value is sent as JSON"
)]
pub trait IsText {}

#[diagnostic::do_not_recommend]
impl<T: AsRef<str> + ?Sized> IsText for T {}

/// Checks at compile time that a field is text.
pub fn is_text<T: IsText + ?Sized>(_: &T) {}
