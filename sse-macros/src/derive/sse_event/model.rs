//! The model contains everything that the type and its attributes declare.

use std::collections::HashMap;

use proc_macro2::{Ident, Span, TokenTree};
use syn::{Attribute, Data, DeriveInput, Fields, Index, Member, Meta, Type};

use crate::{
    derive::{
        case::Case,
        serde_attribute,
        sse_attribute::{self, Target},
    },
    support::{
        errors::{Errors, one_of},
        event_name::event_name,
        reserved_name::{self, RESERVED_NAME},
        runtime_path::{Runtime, runtime_path},
        warning::Warning,
    },
};

const ON_ENUM: Target = Target {
    name: "an enum",
    keys: &[
        ("rename_all", "rename_all = \"kebab-case\""),
        ("allow", "allow(reserved_name)"),
        ("crate", "crate = ::sse_runtime"),
    ],
};

const ON_STRUCT: Target = Target {
    name: "a struct",
    keys: &[
        ("event", "event = \"tool-call\""),
        ("message", "message"),
        ("text", "text"),
        ("allow", "allow(reserved_name)"),
        ("crate", "crate = ::sse_runtime"),
    ],
};

const ON_VARIANT: Target = Target {
    name: "a variant",
    keys: &[
        ("event", "event = \"tool-call\""),
        ("message", "message"),
        ("text", "text"),
        ("allow", "allow(reserved_name)"),
    ],
};

const ON_FIELD: Target = Target {
    name: "a field",
    keys: &[("id", "id")],
};

const TARGETS: [Target; 4] = [ON_VARIANT, ON_STRUCT, ON_ENUM, ON_FIELD];

pub(crate) struct Model {
    pub(crate) input: DeriveInput,
    pub(crate) runtime: Runtime,
    /// An enum has one shape per variant. A struct has a single shape.
    pub(crate) shapes: Vec<Shape>,
    pub(crate) warnings: Vec<Warning>,
    /// Whether serde attributes change the type's default representation. If so, the event's data
    /// is serde's entire output.
    pub(crate) is_whole: bool,
    /// Whether the type is an enum whose JSON schema consists of one schema per variant.
    pub(crate) is_cut: bool,
}

/// The event for a variant or a struct.
pub(crate) struct Shape {
    /// `None` for a struct.
    pub(crate) variant: Option<Ident>,
    /// `None` for an unnamed event, which clients receive as `message`.
    pub(crate) event: Option<String>,
    pub(crate) data: ShapeData,
    pub(crate) id: Option<Id>,
    /// The variant's name in serde's output. `None` for a struct, and for a variant whose name does
    /// not tag its content.
    pub(crate) tag: Option<String>,
    /// Whether the deserializer skips the variant.
    pub(crate) is_never_read: bool,
    /// Whether the serializer skips the variant.
    pub(crate) is_never_sent: bool,
    /// Whether the JSON schema describes the serialized form of every part of the variant.
    pub(crate) is_exact: bool,
}

pub(crate) enum ShapeData {
    Json,
    /// The field that contains the text.
    Text(Member, Box<Type>),
    Empty,
}

/// The field that contains the event ID.
pub(crate) struct Id {
    pub(crate) member: Member,
    pub(crate) ty: Type,
}

impl Model {
    pub(crate) fn new(input: DeriveInput, errors: &mut Errors) -> Self {
        let mut reader = ShapeReader {
            errors,
            warnings: Vec::new(),
            allows: false,
            is_whole: serde_attribute::has_custom_form(&input.attrs),
            case: Case::default(),
            runtime: None,
            tag_case: serde_attribute::for_serializing(&input.attrs, "rename_all")
                .and_then(|rule| Case::parse(&rule).ok()),
        };
        let shapes = match &input.data {
            Data::Enum(data) => {
                reader.read_attrs(&input.attrs, &ON_ENUM);
                reader.variants(data)
            }
            Data::Struct(data) => {
                vec![reader.shape(None, &input.ident, &input.attrs, &data.fields, &ON_STRUCT)]
            }
            Data::Union(data) => {
                reader.errors.at(
                    data.union_token,
                    "`SseEvent` cannot be derived for a union; use an enum or a struct",
                );
                Vec::new()
            }
        };
        let ShapeReader {
            warnings,
            runtime,
            is_whole,
            ..
        } = reader;
        let is_enum = matches!(input.data, Data::Enum(_));
        Self {
            runtime: Runtime::new(runtime.as_ref()),
            is_whole,
            is_cut: is_enum && !serde_attribute::is_converted(&input.attrs),
            input,
            shapes,
            warnings,
        }
    }
}

struct ShapeReader<'a> {
    errors: &'a mut Errors,
    warnings: Vec<Warning>,
    /// Whether the type has `#[sse(allow(reserved_name))]`.
    allows: bool,
    is_whole: bool,
    case: Case,
    /// The enum's `#[serde(rename_all)]`, if any.
    tag_case: Option<Case>,
    runtime: Option<syn::Path>,
}

/// The `#[sse(…)]` keys on a variant or struct.
#[derive(Default)]
struct Attrs {
    event: Option<syn::LitStr>,
    message: Option<Span>,
    text: Option<Span>,
    allows: bool,
}

impl ShapeReader<'_> {
    fn read_attrs(&mut self, attributes: &[Attribute], target: &Target) -> Attrs {
        let mut attrs = Attrs::default();
        for entry in sse_attribute::entries(attributes, target, &TARGETS, self.errors) {
            let read = match entry.key.to_string().as_str() {
                "event" => entry
                    .value("event = \"tool-call\"")
                    .and_then(|value| event_name(&entry.key, value))
                    .map(|name| attrs.event = Some(name)),
                "message" => entry.flag().map(|span| attrs.message = Some(span)),
                "text" => entry.flag().map(|span| attrs.text = Some(span)),
                "rename_all" => entry
                    .text("rename_all = \"kebab-case\"")
                    .and_then(|rule| Case::parse(&rule))
                    .map(|case| self.case = case),
                "allow" => entry
                    .names("allow(reserved_name)")
                    .and_then(|names| allowed(&names))
                    .map(|()| attrs.allows = true),
                _ => entry
                    .value("crate = ::sse_runtime")
                    .and_then(runtime_path)
                    .map(|path| self.runtime = Some(path)),
            };
            if let Err(error) = read {
                self.errors.push(error);
            }
        }
        self.allows |= attrs.allows && target.name != ON_VARIANT.name;
        attrs
    }

    fn variants(&mut self, data: &syn::DataEnum) -> Vec<Shape> {
        let mut taken: HashMap<String, Ident> = HashMap::new();
        let mut shapes = Vec::new();
        for variant in &data.variants {
            let name = &variant.ident;
            if let Some(untagged) = serde_attribute::untagged(&variant.attrs) {
                self.errors.at(
                    untagged,
                    "clients identify a variant by its event name; remove `untagged`, or move it to the enum",
                );
            }
            let shape = self.shape(
                Some(name),
                name,
                &variant.attrs,
                &variant.fields,
                &ON_VARIANT,
            );
            if let Some(event) = &shape.event
                && let Some(other) = taken.insert(event.clone(), name.clone())
            {
                self.errors.at(
                    name,
                    format_args!(
                        "`{other}` already uses the event name `{event}`; choose another name with `#[sse(event = \"…\")]`"
                    ),
                );
            }
            shapes.push(shape);
        }
        shapes
    }

    fn shape(
        &mut self,
        variant: Option<&Ident>,
        name: &Ident,
        attributes: &[Attribute],
        fields: &Fields,
        target: &Target,
    ) -> Shape {
        let attrs = self.read_attrs(attributes, target);
        if let (Some(span), Some(_)) = (attrs.message, &attrs.event) {
            self.errors.at_span(
                span,
                "`message` leaves the event unnamed, but `event` gives it a name; remove one of them",
            );
        }
        let event = match (&attrs.event, attrs.message) {
            (Some(event), _) => Some(event.value()),
            (None, Some(_)) => None,
            (None, None) => Some(self.case.apply(name.to_string().trim_start_matches("r#"))),
        };
        self.warn_of_reserved(event.as_deref(), name, &attrs);
        // serde then treats the variant like a unit variant, but schemars does not.
        let is_empty = variant.is_some() && skips_only_field(fields);
        let data = match self.data(fields, attrs.text, target.name) {
            ShapeData::Json if is_empty && !self.is_whole => ShapeData::Empty,
            data => data,
        };
        Shape {
            variant: variant.cloned(),
            event,
            data,
            id: self.id(fields),
            tag: variant
                .filter(|_| !self.is_whole)
                .map(|name| self.tag(name, attributes)),
            is_never_read: serde_attribute::skips_deserializing(attributes),
            is_never_sent: serde_attribute::skips_serializing(attributes),
            is_exact: !is_empty
                && is_exact(attributes)
                && fields.iter().all(|field| is_exact(&field.attrs)),
        }
    }

    /// Returns the name of a variant in serde's output.
    fn tag(&self, name: &Ident, attributes: &[Attribute]) -> String {
        if let Some(tag) = serde_attribute::for_serializing(attributes, "rename") {
            return tag.value();
        }
        let name = name.to_string();
        let name = name.trim_start_matches("r#");
        match self.tag_case {
            Some(case) => case.apply(name),
            None => name.to_owned(),
        }
    }

    fn warn_of_reserved(&mut self, event: Option<&str>, name: &Ident, attrs: &Attrs) {
        let Some(message) = event.and_then(reserved_name::problem) else {
            return;
        };
        if attrs.allows || self.allows {
            return;
        }
        self.warnings.push(Warning {
            name: RESERVED_NAME,
            span: attrs
                .event
                .as_ref()
                .map_or_else(|| name.span(), syn::LitStr::span),
            message,
        });
    }

    fn data(&mut self, fields: &Fields, text: Option<Span>, target: &str) -> ShapeData {
        if let Fields::Unnamed(unnamed) = fields
            && unnamed.unnamed.len() != 1
        {
            let instead = match unnamed.unnamed.len() {
                0 => "remove the parentheses",
                _ => "name the fields, or move them into a struct",
            };
            self.errors.at(
                unnamed,
                format_args!("an event must have named fields or one unnamed field; {instead}"),
            );
            return ShapeData::Json;
        }
        match (text, fields) {
            (Some(span), _) if self.is_whole => {
                self.errors.at_span(
                    span,
                    "`text` cannot be combined with serde's `tag`, `untagged`, `transparent` or `into`; remove one of them",
                );
                ShapeData::Json
            }
            (None, _) if self.is_whole => ShapeData::Json,
            (Some(_), Fields::Unnamed(unnamed)) => {
                let ty = unnamed.unnamed[0].ty.clone();
                ShapeData::Text(Member::Unnamed(Index::from(0)), Box::new(ty))
            }
            (Some(span), _) => {
                self.errors.at_span(
                    span,
                    format_args!(
                        "`text` requires {target} with one unnamed text field, as in `Html(String)`"
                    ),
                );
                ShapeData::Json
            }
            (None, Fields::Unit) => ShapeData::Empty,
            (None, _) => ShapeData::Json,
        }
    }

    /// Returns the field marked with `#[sse(id)]`.
    fn id(&mut self, fields: &Fields) -> Option<Id> {
        let mut id = None;
        for (member, field) in fields.members().zip(fields) {
            for entry in sse_attribute::entries(&field.attrs, &ON_FIELD, &TARGETS, self.errors) {
                match entry.flag() {
                    Err(error) => self.errors.push(error),
                    Ok(span) if id.is_some() => {
                        self.errors
                            .at_span(span, "duplicate `id`; only one field can be the event ID");
                    }
                    Ok(_) => {
                        id = Some(Id {
                            member: member.clone(),
                            ty: field.ty.clone(),
                        });
                    }
                }
            }
        }
        id
    }
}

/// Returns whether the fields are a single unnamed field that is not serialized.
fn skips_only_field(fields: &Fields) -> bool {
    let Fields::Unnamed(unnamed) = fields else {
        return false;
    };
    unnamed.unnamed.len() == 1 && serde_attribute::skips_serializing(&unnamed.unnamed[0].attrs)
}

/// Returns whether the JSON schema describes the serialized form of a field or variant. A custom
/// serializer can write anything, so it must have a `#[schemars(…)]` attribute that describes its
/// output. If serde's `with` names a type, schemars uses the schema of this type. If it names a
/// module, schemars rejects it.
fn is_exact(attributes: &[Attribute]) -> bool {
    !serde_attribute::has_serialize_with(attributes) || attributes.iter().any(declares_schema)
}

/// Returns whether an attribute is `#[schemars(with = "…")]` or `#[schemars(schema_with = "…")]`.
fn declares_schema(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else {
        return false;
    };
    let mut tokens = list.tokens.clone().into_iter();
    list.path.is_ident("schemars")
        && tokens.any(
            |token| matches!(token, TokenTree::Ident(key) if key == "with" || key == "schema_with"),
        )
}

/// Checks the names in `allow(…)`. Only `reserved_name` is valid.
fn allowed(names: &[Ident]) -> syn::Result<()> {
    match names.iter().find(|name| *name != RESERVED_NAME) {
        None => Ok(()),
        Some(unknown) => {
            let given = unknown.to_string();
            Err(syn::Error::new_spanned(
                unknown,
                format_args!("unknown warning `{given}`; {}", one_of([RESERVED_NAME])),
            ))
        }
    }
}
