//! [`Contract`]: the part of an endpoint's description that the compiler knows.

use schemars::{Schema, SchemaGenerator};

use crate::event::{problem::Problem, sse_event::NamedData};

/// The description of an endpoint's types.
#[derive(Clone, Debug)]
pub struct Contract {
    /// The stream's item type.
    pub item: Payload,
    /// The stream's error type.
    pub error: Option<Payload>,
    /// The type of the error that becomes the response if the stream does not begin.
    pub rejection: Option<Payload>,
    /// The extractors, in order.
    pub arguments: Vec<Argument>,
    /// The things that the stream may contain besides its items.
    pub contents: &'static [Content],
    /// Whether the function is marked as `#[deprecated]`.
    pub is_deprecated: bool,
}

/// Something that a stream may contain besides its items, as far as the attribute can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Events of topics, which include `gap` events and errors of runs.
    Topics,
    /// `Event::done`.
    Done,
    /// `Event::text`.
    Text,
    /// Names that are set with `Event::event`.
    Names,
    /// Tasks of the stream, which may panic.
    Tasks,
    /// Relayed events, which can have any name and any data.
    Relays,
}

/// A type whose values are sent.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// Returns the type's name.
    pub name: fn() -> &'static str,
    /// `None` if the type does not implement `JsonSchema`.
    pub schema: Option<SchemaOf>,
    /// `None` if the type does not implement `SseEvent`.
    pub events: Option<fn() -> Variants>,
    /// `None` if the type does not implement `SseError`.
    pub problems: Option<fn() -> Vec<ProblemShape>>,
    /// Whether the values are sent as text.
    pub is_text: bool,
    /// Whether the type is an `Option` of a type that implements `SseEvent`. Only some of its values
    /// are then events with names.
    pub is_optional_event: bool,
}

/// The functions that generate a type's schema.
#[derive(Clone, Copy, Debug)]
pub struct SchemaOf {
    /// Returns the schema, or a reference to it if the type has a name.
    pub reference: fn(&mut SchemaGenerator) -> Schema,
    /// Returns the schema itself.
    pub inline: fn(&mut SchemaGenerator) -> Schema,
}

/// The variants of a type that implements `SseEvent`. A struct has one variant.
#[derive(Clone, Copy, Debug)]
pub struct Variants {
    /// Whether each variant has its own schema within the type's schema.
    pub is_cut: bool,
    /// The variants that can be sent.
    pub variants: &'static [Variant],
}

/// A variant of a type that implements `SseEvent`.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// The variant's name in serde's output. `None` if the output does not contain the name, or if
    /// the variant is a struct.
    pub tag: Option<&'static str>,
    /// The event's name, or `None` if the event arrives as `message`.
    pub event: Option<&'static str>,
    /// The format of the event's data.
    pub data: NamedData,
    /// Whether schemars knows the serialized form. It does not know the output of a custom
    /// serializer (`#[serde(with = "…")]`).
    pub is_exact: bool,
}

/// A variant of a type that implements `SseError`.
#[derive(Clone, Debug)]
pub struct ProblemShape {
    /// The members that are known at compile time.
    pub problem: Problem,
    /// The variant's doc comment.
    pub docs: &'static str,
    /// The field that contains the retry delay.
    pub retry_after: Option<Delay>,
    /// The variant's fields.
    pub members: Vec<MemberShape>,
}

/// The field of an error that contains the retry delay.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// The member's name, or `None` if the delay is sent only as a header.
    pub name: Option<&'static str>,
    /// Whether every error has a delay.
    pub is_always_set: bool,
}

/// A field of an error.
#[derive(Clone, Debug)]
pub struct MemberShape {
    /// The member's name.
    pub name: &'static str,
    /// Whether the member can be missing.
    pub is_optional: bool,
    /// The member's schema.
    pub schema: Member,
}

/// Describes how much is known about the type of an error's field.
#[derive(Clone, Copy, Debug)]
pub enum Member {
    /// The type does not implement `Serialize`, so the field is not sent.
    Hidden,
    /// The type does not implement `JsonSchema`.
    Any,
    /// The type has a schema.
    Known(SchemaOf),
}

/// An extractor.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// The part of the request that the extractor reads.
    pub part: Part,
    /// The schema of the type that the extractor contains.
    pub schema: Option<SchemaOf>,
    /// Whether the part can be missing.
    pub is_optional: bool,
    /// Whether the extractor rejects requests in which the part is invalid.
    pub rejects: bool,
}

/// The part of a request that an extractor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The captures of the path.
    Path,
    /// The query string.
    Query,
    /// A JSON body.
    Json,
    /// A form: the body or, in a `GET` request, the query string.
    Form,
    /// A body that is text.
    Text,
    /// A body of any kind.
    Bytes,
    /// The last event ID.
    LastEventId,
    /// Nothing, but the function can spawn tasks that end with the stream.
    Connection,
    /// A part that the description does not mention.
    Other,
}
