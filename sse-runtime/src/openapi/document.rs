//! Generates the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Info,
    operation::{Data, Failure, Name, Operation, Problem},
    schemas::Named,
};
use crate::{event::gap::GapReason, generator::run_failure::INTERNAL_ERROR};

/// How a document describes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// With `itemSchema`. OpenAPI 3.2, "Special Considerations for Server-Sent Events".
    V3_2,
    /// With only the schema of the data.
    V3_1,
}

/// Returns the document. Its members are sorted, because their order would otherwise depend on the
/// features of `serde_json`.
pub(super) fn document(
    info: &Info,
    operations: &[Operation],
    mut named: Named,
    version: Version,
) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let item = paths
            .entry(operation.path.to_openapi())
            .or_insert_with(|| json!({}));
        let described = Printer {
            operation,
            named: &mut named,
            version,
        }
        .operation();
        item[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    let mut document = json!({
        "openapi": match version {
            Version::V3_2 => "3.2.0",
            Version::V3_1 => "3.1.1",
        },
        "info": { "title": info.title, "version": info.version },
        "paths": paths,
    });
    if !named.schemas.is_empty() {
        document["components"] = json!({ "schemas": named.schemas });
    }
    document.sort_all_objects();
    document
}

struct Printer<'a> {
    operation: &'a Operation,
    named: &'a mut Named,
    version: Version,
}

impl Printer<'_> {
    fn operation(&mut self) -> Value {
        let operation = self.operation;
        let mut described = json!({ "operationId": operation.name });
        let (summary, description) = summary(operation.docs);
        if !summary.is_empty() {
            described["summary"] = json!(summary);
        }
        if !description.is_empty() {
            described["description"] = json!(description);
        }
        if operation.is_deprecated {
            described["deprecated"] = json!(true);
        }
        let parameters = self.parameters();
        if !parameters.is_empty() {
            described["parameters"] = json!(parameters);
        }
        if let Some(body) = &operation.body {
            described["requestBody"] = json!({
                "required": body.is_required,
                "content": { body.media_type: { "schema": body.schema } },
            });
        }
        described["responses"] = self.responses();
        described
    }

    fn parameters(&self) -> Vec<Value> {
        let operation = self.operation;
        let parameters = operation.parameters.iter().map(|parameter| {
            let mut schema = parameter.schema.clone();
            let mut described = json!({
                "name": parameter.name,
                "in": if parameter.is_in_path { "path" } else { "query" },
                "required": parameter.is_required,
            });
            // A doc comment on a field describes the parameter rather than the schema.
            for member in ["description", "deprecated"] {
                let members = schema.as_object_mut();
                if let Some(value) = members.and_then(|members| members.remove(member)) {
                    described[member] = value;
                }
            }
            described["schema"] = schema;
            described
        });
        let last = operation.resumes.then(|| {
            json!({
                "name": "Last-Event-ID",
                "in": "header",
                "required": false,
                "description": "The id of the last event that the client received. The stream continues after this event.",
                "schema": { "type": "string" },
            })
        });
        parameters.chain(last).collect()
    }

    // --- responses ---

    fn responses(&mut self) -> Value {
        let operation = self.operation;
        let mut responses = Map::new();
        let items = self.items();
        let media_type = match self.version {
            Version::V3_2 => json!({ "itemSchema": items }),
            Version::V3_1 => json!({ "schema": items }),
        };
        responses.insert(
            "200".to_owned(),
            json!({
                "description": "A stream of events.",
                "content": { "text/event-stream": media_type },
            }),
        );
        if operation.stops {
            responses.insert("204".to_owned(), json!({
                "description": "The client has already received the complete stream and must not reconnect.",
            }));
        }
        for status in &operation.rejections {
            responses.insert(
                status.as_str().to_owned(),
                json!({
                    "description": reason(*status),
                    "content": { "text/plain": { "schema": { "type": "string" } } },
                }),
            );
        }
        match &operation.rejection {
            Some(Failure::Problems { problems, .. }) => {
                for status in statuses(problems) {
                    let response = self.problem_response(status, problems);
                    let code = status.as_str().to_owned();
                    // An extractor can reject a request with the same status.
                    let before = responses.remove(&code);
                    responses.insert(code, merged_content(response, before.as_ref()));
                }
            }
            Some(Failure::Value(_) | Failure::Text | Failure::Response) => {
                responses.insert(
                    "default".to_owned(),
                    json!({
                        "description": "The response if the request fails before the stream begins.",
                    }),
                );
            }
            None => {}
        }
        Value::Object(responses)
    }

    fn problem_response(&mut self, status: StatusCode, problems: &[Problem]) -> Value {
        let problems = problems.iter().filter(|problem| problem.status == status);
        let problems: Vec<&Problem> = problems.collect();
        let mut response = json!({
            "description": reason(status),
            "content": { "application/problem+json": { "schema": self.problem_schema(&problems) } },
        });
        if problems.iter().any(|problem| problem.has_retry_after) {
            response["headers"] = json!({
                "Retry-After": {
                    "description": "The number of seconds to wait before the next request.",
                    "schema": { "type": "integer", "minimum": 0 },
                },
            });
        }
        response
    }

    fn problem_schema(&mut self, problems: &[&Problem]) -> Value {
        let schemas = problems
            .iter()
            .map(|problem| self.named.insert(&problem.name, problem.schema.clone()));
        one_of("anyOf", schemas.collect())
    }

    // --- events ---

    fn items(&mut self) -> Value {
        let mut items = self.described();
        if self.version == Version::V3_1 {
            let data = items.into_iter().flat_map(|item| item.data);
            return one_of("anyOf", data.map(|data| data_alone(&data)).collect());
        }
        // An event must match exactly one schema.
        let names = items.iter().filter_map(Item::name).map(str::to_owned);
        let names: Vec<String> = names.collect();
        let items = items.iter_mut().map(|item| self.item(item, &names));
        one_of("oneOf", items.collect())
    }

    /// Returns the events of the stream. Events with the same name are described together.
    fn described(&mut self) -> Vec<Item> {
        let operation = self.operation;
        let mut items: Vec<Item> = Vec::new();
        let mut add = |item: Item| match items.iter_mut().find(|other| other.name() == item.name())
        {
            Some(other) => other.data.extend(item.data),
            None => items.push(item),
        };
        for event in &operation.events {
            add(Item {
                name: match event.name {
                    Name::Known(name) if name != MESSAGE => EventName::Own(name),
                    Name::Known(_) | Name::Message => EventName::Message,
                    Name::Open => EventName::Open,
                },
                data: vec![event.data.clone()],
                description: event.description.clone(),
                is_deprecated: event.is_deprecated,
            });
        }
        let framework = |name, data, description: &str| Item {
            name,
            data,
            description: Some(json!(description)),
            is_deprecated: false,
        };
        if operation.has_error_event() {
            add(framework(
                EventName::Own(operation.error_event),
                self.errors(),
                "The stream has failed and ends with this event.",
            ));
        }
        if operation.has_framework_events && operation.reads_topics {
            add(framework(
                EventName::Framework("gap"),
                vec![Data::Json(gap())],
                "The client has missed events that are no longer available.",
            ));
        }
        if operation.has_framework_events && self.version == Version::V3_2 {
            add(framework(
                EventName::Framework("close"),
                vec![Data::Json(close())],
                "The server closes the stream. The client can reconnect.",
            ));
            let null = || vec![Data::Json(json!({ "type": "null" }))];
            add(framework(
                EventName::Framework("done"),
                null(),
                "The stream is complete. The client must not reconnect.",
            ));
            if let Some(name) = operation.keep_alive_event {
                add(framework(
                    EventName::Framework(name),
                    null(),
                    "Shows that the connection is still alive.",
                ));
            }
        }
        items
    }

    /// Returns the possible data of the event that reports an error.
    fn errors(&mut self) -> Vec<Data> {
        let operation = self.operation;
        let mut errors = Vec::new();
        match &operation.error {
            Some(Failure::Problems { problems, .. }) => {
                let problems: Vec<&Problem> = problems.iter().collect();
                errors.push(Data::Json(self.problem_schema(&problems)));
            }
            Some(Failure::Value(schema)) => errors.push(Data::Json(schema.clone())),
            Some(Failure::Text) => errors.push(Data::Text),
            Some(Failure::Response) | None => {}
        }
        match self.version {
            // Like the events of the framework, these errors would only blur the types of the data.
            Version::V3_1 => {}
            // The error of a run is not known here.
            Version::V3_2 if operation.reads_topics => errors.push(Data::Json(json!({}))),
            Version::V3_2 if operation.spawns_tasks => errors.push(Data::Json(task_error())),
            Version::V3_2 => {}
        }
        errors
    }

    /// Returns a reference to the schema of an event. `names` are the names of all events.
    fn item(&mut self, item: &mut Item, names: &[String]) -> Value {
        let mut required = vec!["data"];
        let event = match item.name {
            EventName::Own(name) | EventName::Framework(name) => {
                required.push("event");
                json!({ "type": "string", "const": name })
            }
            EventName::Message => json!({ "type": "string", "const": MESSAGE }),
            EventName::Open if names.is_empty() => json!({ "type": "string" }),
            EventName::Open => {
                // An event without a name is a `message`.
                if names.iter().any(|name| name == MESSAGE) {
                    required.push("event");
                }
                json!({ "type": "string", "not": { "enum": names } })
            }
        };
        let mut schema = json!({
            "type": "object",
            "required": required,
            "properties": {
                "event": event,
                "data": data(&item.data),
                "id": { "type": "string" },
                "retry": { "type": "integer", "minimum": 0 },
            },
        });
        if let Some(description) = item.description.take() {
            schema["description"] = description;
        }
        if item.is_deprecated {
            schema["deprecated"] = json!(true);
        }
        let operation = &self.operation.name;
        let name = match item.name {
            EventName::Own(name) => format!("{operation}.{name}"),
            EventName::Message | EventName::Open => format!("{operation}.{MESSAGE}"),
            EventName::Framework(name) => format!("sse.{name}"),
        };
        self.named.insert(&name, schema)
    }
}

/// The name of an event without a name.
const MESSAGE: &str = "message";

/// The events with one name.
struct Item {
    name: EventName,
    /// The possible data.
    data: Vec<Data>,
    description: Option<Value>,
    is_deprecated: bool,
}

enum EventName {
    /// The schema belongs to the endpoint.
    Own(&'static str),
    /// The schema is the same for all endpoints.
    Framework(&'static str),
    /// The event has no name, or is called `message`.
    Message,
    /// The event has a name that no other event has.
    Open,
}

impl Item {
    /// Returns the name, unless it is set when the event is yielded.
    fn name(&self) -> Option<&str> {
        match self.name {
            EventName::Own(name) | EventName::Framework(name) => Some(name),
            EventName::Message => Some(MESSAGE),
            EventName::Open => None,
        }
    }
}

/// Returns the schema of the data of events that have the same name.
fn data(possible: &[Data]) -> Value {
    let schemas = possible.iter().filter_map(|data| match data {
        Data::Json(schema) => Some(schema.clone()),
        Data::Text | Data::Empty => None,
    });
    let schemas: Vec<Value> = schemas.collect();
    let json = (!schemas.is_empty()).then(|| {
        json!({
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": one_of("anyOf", schemas),
        })
    });
    let can_be = |other: fn(&Data) -> bool| possible.iter().any(other);
    let text = if can_be(|data| matches!(data, Data::Text)) {
        Some(json!({ "type": "string" }))
    } else {
        let is_empty = can_be(|data| matches!(data, Data::Empty));
        is_empty.then(|| json!({ "type": "string", "const": "" }))
    };
    one_of("anyOf", json.into_iter().chain(text).collect())
}

/// Returns the schema of the data as a client decodes it.
fn data_alone(data: &Data) -> Value {
    match data {
        Data::Json(schema) => schema.clone(),
        Data::Text => json!({ "type": "string" }),
        Data::Empty => json!({ "type": "string", "const": "" }),
    }
}

/// Splits a doc comment into its first paragraph and the rest.
pub(super) fn summary(docs: &str) -> (String, &str) {
    let docs = docs.trim();
    let (summary, description) = docs.split_once("\n\n").unwrap_or((docs, ""));
    let words: Vec<&str> = summary.split_whitespace().collect();
    (words.join(" "), description.trim())
}

/// Combines several schemas into one that allows each of them.
fn one_of(keyword: &str, schemas: Vec<Value>) -> Value {
    let mut distinct: Vec<Value> = Vec::new();
    for schema in schemas {
        if !distinct.contains(&schema) {
            distinct.push(schema);
        }
    }
    match distinct.len() {
        // No value exists.
        0 => json!({ "not": {} }),
        1 => distinct.remove(0),
        _ => json!({ keyword: distinct }),
    }
}

fn statuses(problems: &[Problem]) -> Vec<StatusCode> {
    let mut statuses: Vec<StatusCode> = problems.iter().map(|problem| problem.status).collect();
    statuses.sort();
    statuses.dedup();
    statuses
}

fn reason(status: StatusCode) -> &'static str {
    status
        .canonical_reason()
        .unwrap_or("The request fails before the stream begins.")
}

/// Adds the content of another response with the same status.
fn merged_content(mut response: Value, other: Option<&Value>) -> Value {
    let content = other.and_then(|other| other.get("content"));
    if let (Some(Value::Object(other)), Some(content)) =
        (content, response["content"].as_object_mut())
    {
        for (media_type, schema) in other {
            content.insert(media_type.clone(), schema.clone());
        }
    }
    response
}

/// Returns the schema of the data of a `gap` event.
pub(super) fn gap() -> Value {
    let reasons = GapReason::ALL.map(GapReason::as_str);
    json!({
        "type": "object",
        "required": ["reason", "missed"],
        "properties": {
            "reason": { "type": "string", "enum": reasons },
            "missed": { "type": ["integer", "null"], "minimum": 0 },
        },
    })
}

/// Returns the schema of the data of a `close` event.
fn close() -> Value {
    json!({
        "type": "object",
        "required": ["reason"],
        "properties": { "reason": { "type": "string" } },
    })
}

/// Returns the schema of the error that reports a panic in a task of the stream.
pub(super) fn task_error() -> Value {
    json!({
        "type": "object",
        "required": ["title", "code", "status"],
        "properties": {
            "title": { "type": "string", "const": "Internal Server Error" },
            "code": { "type": "string", "const": INTERNAL_ERROR },
            "status": { "type": "integer", "const": 500 },
        },
    })
}
