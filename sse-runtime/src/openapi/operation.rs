//! [`Operation`]: the description of an endpoint, from which both the document and the TypeScript
//! client are generated.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    path::{self, Template},
    schemas::{Schemas, free},
};
use crate::{
    config::{End, Endpoint},
    event::{
        contract::{
            Argument, Contract, Delay, Member, Part, Payload, ProblemShape, SchemaOf, Variant,
            Variants,
        },
        sse_event::NamedData,
    },
};

/// An endpoint.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) docs: &'static str,
    pub(super) is_deprecated: bool,
    pub(super) method: Method,
    pub(super) path: Template,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    /// Whether the endpoint reads the last event ID.
    pub(super) resumes: bool,
    /// Whether a client that reconnects after the end of the stream receives a `204`.
    pub(super) stops: bool,
    /// Whether the stream contains events that the framework adds.
    pub(super) has_framework_events: bool,
    pub(super) keep_alive: Option<Duration>,
    pub(super) keep_alive_event: Option<&'static str>,
    pub(super) error_event: &'static str,
    pub(super) events: Vec<Event>,
    /// The data of the event that ends the stream with an error. `None` if the function cannot
    /// fail.
    pub(super) error: Option<Failure>,
    /// Whether the function reads topics. The stream can then contain `gap` events, and errors of
    /// runs.
    pub(super) reads_topics: bool,
    /// Whether the function can spawn tasks. The stream then ends with an error if one of them
    /// panics.
    pub(super) spawns_tasks: bool,
    pub(super) rejection: Option<Failure>,
    /// The statuses with which the extractors reject requests.
    pub(super) rejections: Vec<StatusCode>,
}

/// A parameter in the path or the query.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) is_in_path: bool,
    pub(super) is_required: bool,
    pub(super) schema: Value,
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) media_type: &'static str,
    pub(super) is_required: bool,
    pub(super) schema: Value,
}

/// An event that the endpoint's function yields.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: Name,
    pub(super) data: Data,
    /// The doc comment, if the schema contains one.
    pub(super) description: Option<Value>,
    pub(super) is_deprecated: bool,
}

/// The name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Known(&'static str),
    /// The event has no name, so it arrives as `message`.
    Message,
    /// The name can be set when the event is yielded.
    Open,
}

/// The data of an event.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Json(Value),
    Text,
    Empty,
}

/// An error that the client receives.
#[derive(Debug)]
pub(super) enum Failure {
    Problems {
        /// The name of the type.
        name: String,
        problems: Vec<Problem>,
    },
    /// A value whose type does not derive `SseError`.
    Value(Value),
    /// Text.
    Text,
    /// A response whose content is unknown.
    Response,
}

/// A variant of a type that implements `SseError`.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// The name of the schema in the document.
    pub(super) name: String,
    pub(super) schema: Value,
    pub(super) has_retry_after: bool,
}

/// Describes an endpoint, and adds everything that has no schema to `untyped`.
pub(super) fn operation(
    endpoint: &Endpoint,
    name: &str,
    prefix: &str,
    schemas: &mut Schemas,
    untyped: &mut Vec<String>,
) -> Operation {
    let contract = endpoint.contract.map(|contract| contract());
    let mut reader = Reader {
        schemas,
        untyped,
        operation: name,
    };
    let path = Template::parse(&path::nested(prefix, endpoint.path));
    let contract = contract.unwrap_or_else(|| unreachable!("the attribute describes the types"));
    let has_framework_events = endpoint.sends_framework_events();
    let (parameters, body) = reader.request(&contract, &path, endpoint);
    let has = |part| {
        let mut arguments = contract.arguments.iter();
        arguments.any(|argument: &Argument| argument.part == part)
    };
    let contents = contract.contents;
    let mut events = reader.events(&contract.item);
    events.extend(reader.other_events(&contract, has_framework_events));
    if endpoint.head_after.is_some() && has_framework_events {
        reader.untyped("the errors that are returned after `head_after`");
        events.push(Event {
            name: Name::Known(endpoint.error_event),
            data: Data::Json(json!({})),
            description: Some(json!("The error that was returned instead of a stream.")),
            is_deprecated: false,
        });
    }
    let error = match contract.error {
        // These errors are events with names of their own.
        Some(error) if error.events.is_some() => {
            events.extend(reader.error_events(&error, endpoint.error_event));
            None
        }
        _ => reader.error(&contract),
    };
    Operation {
        name: name.to_owned(),
        docs: endpoint.docs,
        is_deprecated: contract.is_deprecated,
        method: endpoint.method.clone(),
        parameters,
        body,
        resumes: has(Part::LastEventId),
        stops: endpoint.end == End::Stop || contents.done || has_framework_events,
        has_framework_events,
        keep_alive: endpoint.keep_alive,
        keep_alive_event: endpoint.keep_alive_event,
        error_event: endpoint.error_event,
        events,
        error,
        reads_topics: contents.topics,
        spawns_tasks: has_framework_events && has(Part::Connection),
        rejection: contract
            .rejection
            .and_then(|rejection| reader.rejection(&rejection)),
        rejections: rejections(&contract, endpoint),
        path,
    }
}

/// Returns the statuses of the extractors' rejections.
fn rejections(contract: &Contract, endpoint: &Endpoint) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for argument in &contract.arguments {
        if !argument.rejects {
            continue;
        }
        let rejects: &[u16] = match argument.part {
            Part::Path | Part::Query => &[400],
            Part::Json => &[400, 413, 415, 422],
            Part::Form if endpoint.method == Method::GET => &[400],
            Part::Form => &[413, 415, 422],
            Part::Text => &[400, 413],
            Part::Bytes => &[413],
            Part::LastEventId | Part::Connection | Part::Other => &[],
        };
        for status in rejects
            .iter()
            .filter_map(|code| StatusCode::from_u16(*code).ok())
        {
            if !statuses.contains(&status) {
                statuses.push(status);
            }
        }
    }
    statuses
}

struct Reader<'a> {
    schemas: &'a mut Schemas,
    untyped: &'a mut Vec<String>,
    operation: &'a str,
}

impl Reader<'_> {
    fn untyped(&mut self, what: impl std::fmt::Display) {
        self.untyped.push(format!("{}: {what}", self.operation));
    }

    // --- the request ---

    fn request(
        &mut self,
        contract: &Contract,
        path: &Template,
        endpoint: &Endpoint,
    ) -> (Vec<Parameter>, Option<Body>) {
        let mut captures = Vec::new();
        let mut query = Vec::new();
        let mut body = None;
        for argument in &contract.arguments {
            let schema = argument.schema;
            let is_required = !argument.is_optional;
            match argument.part {
                Part::Path => {
                    captures.extend(schema.map(|schema| self.schemas.read_inline(schema)));
                }
                Part::Form if endpoint.method == Method::GET => {
                    query.extend(self.query(schema, is_required));
                }
                Part::Query => query.extend(self.query(schema, is_required)),
                Part::Json => body = Some(self.body("application/json", schema, is_required)),
                Part::Form => {
                    let media_type = "application/x-www-form-urlencoded";
                    body = Some(self.body(media_type, schema, is_required));
                }
                Part::Text => {
                    body = Some(Body {
                        media_type: "text/plain",
                        is_required: false,
                        schema: json!({ "type": "string" }),
                    });
                }
                Part::Bytes => {
                    body = Some(Body {
                        media_type: "application/octet-stream",
                        is_required: false,
                        schema: json!({}),
                    });
                }
                Part::LastEventId | Part::Connection | Part::Other => {}
            }
        }
        let mut parameters = path_parameters(path, &captures);
        parameters.extend(merged(query));
        (parameters, body)
    }

    fn query(&mut self, schema: Option<SchemaOf>, is_required: bool) -> Vec<Parameter> {
        let inline = schema.map(|schema| self.schemas.read_inline(schema));
        let inline = inline.unwrap_or_default();
        let Some(Value::Object(properties)) = inline.get("properties") else {
            self.untyped("the query");
            return Vec::new();
        };
        let required = |name: &str| {
            let required = inline.get("required").and_then(Value::as_array);
            is_required && required.is_some_and(|names| names.iter().any(|other| other == name))
        };
        let properties = properties.iter();
        let mut parameters: Vec<Parameter> = properties
            .map(|(name, schema)| Parameter {
                name: name.clone(),
                is_in_path: false,
                is_required: required(name),
                schema: schema.clone(),
            })
            .collect();
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        parameters
    }

    fn body(
        &mut self,
        media_type: &'static str,
        schema: Option<SchemaOf>,
        is_required: bool,
    ) -> Body {
        let schema = match schema {
            Some(schema) => self.schemas.read(schema),
            None => {
                self.untyped("the body of the request");
                json!({})
            }
        };
        Body {
            media_type,
            is_required,
            schema,
        }
    }

    // --- the events ---

    fn events(&mut self, item: &Payload) -> Vec<Event> {
        if let Some(variants) = item.events {
            return self.variants(item, variants());
        }
        if is_never(item) {
            return Vec::new();
        }
        let data = if item.is_text {
            Data::Text
        } else if item.is_optional_event {
            // A value that is an event may have a name, and text or nothing as its data.
            self.untyped(format_args!("the item `{}`", (item.name)()));
            Data::Text
        } else if let Some(schema) = item.schema {
            Data::Json(self.schemas.sent(schema))
        } else {
            self.untyped(format_args!("the item `{}`", (item.name)()));
            Data::Json(json!({}))
        };
        vec![Event {
            name: Name::Open,
            data,
            description: None,
            is_deprecated: false,
        }]
    }

    /// Describes the events that the function yields without an item, or under another name than
    /// that of the item.
    fn other_events(&mut self, contract: &Contract, has_framework_events: bool) -> Vec<Event> {
        let contents = contract.contents;
        let event = |name, data| Event {
            name,
            data,
            description: None,
            is_deprecated: false,
        };
        let mut events = Vec::new();
        if contract.item.events.is_some() && contents.names {
            self.untyped("the events whose names are set with `Event::event`");
            events.push(event(Name::Open, Data::Text));
        } else if contents.text {
            let name = match contract.item.events {
                Some(_) => Name::Message,
                None => Name::Open,
            };
            events.push(event(name, Data::Text));
        }
        if contents.done && !has_framework_events {
            let null = json!({ "type": "null" });
            events.push(Event {
                description: Some(json!("The stream has ended.")),
                ..event(Name::Known("done"), Data::Json(null))
            });
        }
        events
    }

    fn variants(&mut self, item: &Payload, described: Variants) -> Vec<Event> {
        let Variants { is_cut, variants } = described;
        // Only a struct, or an enum that is serialized as another type, has one schema for all its
        // events. The schemas of other enums must not be named, because they describe the data of
        // no event.
        let whole = item.schema.filter(|_| !is_cut).map(|schema| {
            let inline = self.schemas.sent_inline(schema);
            (self.schemas.sent(schema), inline)
        });
        let inline = item.schema.filter(|_| is_cut);
        let inline = inline.map(|schema| self.schemas.sent_inline(schema));
        let branches = inline.as_ref().and_then(branches);
        // Without tags, the variants and their schemas are in the same order.
        let by_order = branches.filter(|branches| branches.len() == variants.len());
        let events = variants.iter().enumerate().map(|(at, variant)| {
            let found = match (&whole, variant.tag) {
                (Some((reference, inline)), _) => Some((reference.clone(), inline)),
                (None, Some(tag)) => branches.and_then(|branches| tagged(branches, tag)),
                (None, None) => by_order.map(|branches| (branches[at].clone(), &branches[at])),
            };
            self.event(item, variant, found)
        });
        events.collect()
    }

    /// Describes the events of an error that implements `SseEvent`.
    fn error_events(&mut self, error: &Payload, error_event: &'static str) -> Vec<Event> {
        let mut events = self.events(error);
        for event in &mut events {
            if event.name == Name::Message {
                event.name = Name::Known(error_event);
            }
        }
        events
    }

    /// Describes a variant. `found` contains the schema of its content and the schema that contains
    /// its doc comment.
    fn event(
        &mut self,
        item: &Payload,
        variant: &Variant,
        found: Option<(Value, &Value)>,
    ) -> Event {
        let (content, outer) = found.unzip();
        let data = match (variant.data, content) {
            (NamedData::Text, _) => Data::Text,
            (NamedData::Empty, _) => Data::Empty,
            (NamedData::Json, Some(content)) if variant.is_exact => Data::Json(content),
            (NamedData::Json, _) => {
                let event = variant.event.unwrap_or("message");
                self.untyped(format_args!("the event `{event}` of `{}`", (item.name)()));
                Data::Json(json!({}))
            }
        };
        let member = |name: &str| outer.and_then(|outer| outer.get(name));
        Event {
            name: variant.event.map_or(Name::Message, Name::Known),
            data,
            description: member("description").cloned(),
            is_deprecated: member("deprecated").is_some_and(|value| *value == true),
        }
    }

    // --- errors ---

    fn error(&mut self, contract: &Contract) -> Option<Failure> {
        let error = contract.error.filter(|error| !is_never(error))?;
        if error.is_text {
            return Some(Failure::Text);
        }
        Some(self.failure(&error).unwrap_or_else(|| {
            self.untyped(format_args!("the error `{}`", (error.name)()));
            Failure::Value(json!({}))
        }))
    }

    fn rejection(&mut self, rejection: &Payload) -> Option<Failure> {
        if is_never(rejection) {
            return None;
        }
        Some(match rejection.problems {
            Some(problems) => self.problems(rejection, &problems()),
            None => Failure::Response,
        })
    }

    fn failure(&mut self, error: &Payload) -> Option<Failure> {
        if let Some(problems) = error.problems {
            return Some(self.problems(error, &problems()));
        }
        let schema = error.schema?;
        Some(Failure::Value(self.schemas.sent(schema)))
    }

    fn problems(&mut self, error: &Payload, shapes: &[ProblemShape]) -> Failure {
        let name = short_name((error.name)());
        let problems = shapes.iter().map(|shape| self.problem(&name, shape));
        let problems = problems.collect();
        Failure::Problems { name, problems }
    }

    fn problem(&mut self, name: &str, shape: &ProblemShape) -> Problem {
        let problem = shape.problem;
        let status = problem.status();
        let title = problem.title.or(status.canonical_reason());
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (name, value) in [
            ("type", problem.kind),
            ("title", title),
            ("detail", problem.detail),
        ] {
            if let Some(value) = value {
                properties.insert(name.to_owned(), json!({ "type": "string", "const": value }));
                required.push(name);
            }
        }
        properties.insert(
            "code".to_owned(),
            json!({ "type": "string", "const": problem.code }),
        );
        required.push("code");
        properties.insert(
            "status".to_owned(),
            json!({ "type": "integer", "const": status.as_u16() }),
        );
        required.push("status");
        // A field with the name of a standard member replaces that member. If the field is
        // optional, the standard member is sent whenever the field is missing, so the schema allows
        // both.
        let mut add = |name: &'static str, is_optional: bool, schema: Value| {
            let schema = match properties.remove(name) {
                Some(before) if is_optional => json!({ "anyOf": [schema, before] }),
                _ => schema,
            };
            properties.insert(name.to_owned(), schema);
            if !is_optional && !required.contains(&name) {
                required.push(name);
            }
        };
        for member in &shape.members {
            let schema = match member.schema {
                Member::Hidden => continue,
                Member::Known(schema) => self.schemas.sent(schema),
                Member::Any => {
                    self.untyped(format_args!(
                        "the member `{}` of `{name}.{}`",
                        member.name, problem.code
                    ));
                    json!({})
                }
            };
            add(member.name, member.is_optional, schema);
        }
        if let Some(Delay {
            name: Some(after),
            is_always_set,
        }) = shape.retry_after
        {
            let seconds = json!({ "type": "integer", "minimum": 0 });
            add(after, !is_always_set, seconds);
        }
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
        });
        if !shape.docs.is_empty() {
            schema["description"] = json!(trimmed(shape.docs));
        }
        Problem {
            status,
            name: format!("{name}.{}", problem.code),
            schema,
            has_retry_after: shape.retry_after.is_some(),
        }
    }
}

/// Returns whether the type has no values.
fn is_never(payload: &Payload) -> bool {
    (payload.name)() == std::any::type_name::<std::convert::Infallible>()
        || payload
            .problems
            .is_some_and(|problems| problems().is_empty())
}

/// Returns a type's name without its path and its generic arguments.
fn short_name(name: &str) -> String {
    for pointer in ["alloc::boxed::Box<", "alloc::sync::Arc<", "alloc::rc::Rc<"] {
        if let Some(inside) = name.strip_prefix(pointer) {
            return short_name(inside.strip_suffix('>').unwrap_or(inside));
        }
    }
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}

/// Returns the schemas of an enum's variants.
fn branches(schema: &Value) -> Option<&Vec<Value>> {
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"));
    branches.and_then(Value::as_array)
}

/// Returns the schema of a variant's content, and the schema that contains it. serde represents a
/// variant that has content as an object with one member, whose name is the tag.
fn tagged<'a>(branches: &'a [Value], tag: &str) -> Option<(Value, &'a Value)> {
    branches.iter().find_map(|branch| {
        if branch.get("const").is_some_and(|name| name == tag) {
            return Some((json!({}), branch));
        }
        let properties = branch.get("properties")?.as_object()?;
        let content = properties.get(tag).filter(|_| properties.len() == 1)?;
        Some((content.clone(), branch))
    })
}

/// Merges the parameters of several extractors that read the same part of the query.
fn merged(query: Vec<Parameter>) -> Vec<Parameter> {
    let mut merged: Vec<Parameter> = Vec::new();
    for parameter in query {
        match merged.iter_mut().find(|other| other.name == parameter.name) {
            Some(other) => other.is_required |= parameter.is_required,
            None => merged.push(parameter),
        }
    }
    merged
}

/// Returns the parameters for the captures of a path. `schemas` describe the contents of the `Path`
/// extractors.
fn path_parameters(path: &Template, schemas: &[Value]) -> Vec<Parameter> {
    let count = path.captures().count();
    let captures = path.captures().enumerate();
    captures
        .map(|(at, name)| Parameter {
            schema: schemas
                .iter()
                .find_map(|schema| capture(schema, name, at, count))
                .unwrap_or_else(|| json!({ "type": "string" })),
            name: name.to_owned(),
            is_in_path: true,
            is_required: true,
        })
        .collect()
}

/// Returns the schema of a capture within the schema of the type in `Path<…>`. axum reads a struct
/// by the names of the captures, a tuple by their order, and any other type from a single capture.
fn capture(schema: &Value, name: &str, at: usize, count: usize) -> Option<Value> {
    if let Some(properties) = schema.get("properties") {
        return properties.get(name).cloned();
    }
    if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
        return items.get(at).cloned();
    }
    let is_list = ["additionalProperties", "patternProperties", "items"];
    let is_list = is_list.iter().any(|member| schema.get(member).is_some());
    (count == 1 && !is_list).then(|| schema.clone())
}

/// Removes leading and trailing whitespace from a doc comment.
pub(super) fn trimmed(docs: &str) -> &str {
    docs.trim()
}

impl Operation {
    /// Calls `change` for every schema.
    pub(super) fn for_each_schema(&mut self, mut change: impl FnMut(&mut Value)) {
        let parameters = self.parameters.iter_mut();
        parameters.for_each(|parameter| change(&mut parameter.schema));
        if let Some(body) = &mut self.body {
            change(&mut body.schema);
        }
        for event in &mut self.events {
            if let Data::Json(schema) = &mut event.data {
                change(schema);
            }
        }
        for failure in [&mut self.error, &mut self.rejection].into_iter().flatten() {
            match failure {
                Failure::Problems { problems, .. } => {
                    let problems = problems.iter_mut();
                    problems.for_each(|problem| change(&mut problem.schema));
                }
                Failure::Value(schema) => change(schema),
                Failure::Text | Failure::Response => {}
            }
        }
    }

    /// Returns the member of the TypeScript client's input that contains a parameter. Usually, this
    /// is the parameter's name. If the request body or a capture of the path has the same name, the
    /// place of the parameter is put in front of its name, so that each part has its own member.
    pub(super) fn input_key(&self, parameter: &Parameter) -> String {
        let name = &parameter.name;
        let is_capture = |other: &Parameter| other.is_in_path && other.name == *name;
        let clashes_with_body = name == "body" && self.body.is_some();
        let clashes = !parameter.is_in_path && self.parameters.iter().any(is_capture);
        if !clashes_with_body && !clashes {
            return name.clone();
        }
        let place = if parameter.is_in_path {
            "path"
        } else {
            "query"
        };
        let is_taken = |key: &str| self.parameters.iter().any(|other| other.name == key);
        free(&format!("{place}_{name}"), is_taken)
    }

    /// Returns whether the stream can end with the event that reports an error.
    pub(super) fn has_error_event(&self) -> bool {
        self.error.is_some() || self.reads_topics || self.spawns_tasks
    }
}
