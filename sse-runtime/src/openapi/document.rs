//! Prints a description as an OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Info,
    operation::{Data, Event, Failure, Name, Operation, Problem},
    schemas::Named,
};
use crate::event::gap::GapReason;

/// How a document describes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// With `itemSchema`. OpenAPI 3.2, "Special Considerations for Server-Sent Events".
    V3_2,
    /// With the schema of the data alone.
    V3_1,
}

/// Returns the document. Its members are sorted, so that it does not depend on the features of
/// `serde_json`.
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
            // The parameter is what the doc comment describes.
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
                "description": "The id of the last event that the client has received. The stream continues after this event.",
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
                "description": "The client has already received the end of the stream, and must not reconnect.",
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
            Some(Failure::Value(_) | Failure::Response) => {
                responses.insert(
                    "default".to_owned(),
                    json!({
                        "description": "The response if the stream does not begin.",
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
        let operation = self.operation;
        let mut items = Vec::new();
        for event in &operation.events {
            let (name, data) = self.event(event);
            items.push(self.item(&name, data, event.description.clone(), event.is_deprecated));
        }
        let error = self.error();
        let version = self.version;
        let mut add = |name: &str, data: Data, description: &str| {
            let name = EventName::Framework(name.to_owned());
            items.push(self.item(&name, data, Some(json!(description)), false));
        };
        if let Some(error) = error {
            add(
                operation.error_event,
                Data::Json(error),
                "The stream has failed, and ends with this event.",
            );
        }
        if operation.has_framework_events && operation.reads_topics {
            add(
                "gap",
                Data::Json(gap()),
                "The client has missed events that are no longer available.",
            );
        }
        if operation.has_framework_events && version == Version::V3_2 {
            add(
                "close",
                Data::Json(close()),
                "The server closes the stream. The client can reconnect.",
            );
            add(
                "done",
                Data::Json(json!({ "type": "null" })),
                "The stream has ended, and the client must not reconnect.",
            );
            if let Some(name) = operation.keep_alive_event {
                add(
                    name,
                    Data::Json(json!({ "type": "null" })),
                    "Shows that the connection is still alive.",
                );
            }
        }
        one_of("oneOf", items)
    }

    /// Returns the schema of the data of the `error` event, if the stream can contain one.
    fn error(&mut self) -> Option<Value> {
        let operation = self.operation;
        let own = operation.error.as_ref().map(|error| match error {
            Failure::Problems { problems, .. } => {
                let problems: Vec<&Problem> = problems.iter().collect();
                self.problem_schema(&problems)
            }
            Failure::Value(schema) => schema.clone(),
            Failure::Response => json!({}),
        });
        let of_run = operation.reads_topics.then(run_error);
        match (own, of_run) {
            (Some(own), Some(of_run)) => Some(json!({ "anyOf": [own, of_run] })),
            (own, of_run) => own.or(of_run),
        }
    }

    fn event(&self, event: &Event) -> (EventName, Data) {
        let name = match event.name {
            Name::Known(name) => EventName::Known(name.to_owned()),
            Name::Message => EventName::Message,
            Name::Open => EventName::Open,
        };
        (name, event.data.clone())
    }

    /// Returns a reference to the schema of an event.
    fn item(
        &mut self,
        name: &EventName,
        data: Data,
        description: Option<Value>,
        is_deprecated: bool,
    ) -> Value {
        if self.version == Version::V3_1 {
            return match data {
                Data::Json(schema) => schema,
                Data::Text => json!({ "type": "string" }),
                Data::Empty => json!({ "type": "string", "const": "" }),
            };
        }
        let data = match data {
            Data::Json(schema) => json!({
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema,
            }),
            Data::Text => json!({ "type": "string" }),
            Data::Empty => json!({ "type": "string", "const": "" }),
        };
        let event = match name {
            EventName::Known(name) | EventName::Framework(name) => {
                json!({ "type": "string", "const": name })
            }
            EventName::Message => json!({ "type": "string", "const": "message" }),
            EventName::Open => match self.reserved() {
                reserved if reserved.is_empty() => json!({ "type": "string" }),
                reserved => json!({ "type": "string", "not": { "enum": reserved } }),
            },
        };
        let mut required = vec!["data"];
        if matches!(name, EventName::Known(_) | EventName::Framework(_)) {
            required.push("event");
        }
        let mut schema = json!({
            "type": "object",
            "required": required,
            "properties": {
                "event": event,
                "data": data,
                "id": { "type": "string" },
                "retry": { "type": "integer", "minimum": 0 },
            },
        });
        if let Some(description) = description {
            schema["description"] = description;
        }
        if is_deprecated {
            schema["deprecated"] = json!(true);
        }
        let operation = &self.operation.name;
        let name = match name {
            EventName::Known(name) => format!("{operation}.{name}"),
            EventName::Message | EventName::Open => format!("{operation}.message"),
            EventName::Framework(name) if *name == self.operation.error_event => {
                format!("{operation}.{name}")
            }
            EventName::Framework(name) => format!("sse.{name}"),
        };
        self.named.insert(&name, schema)
    }

    /// Returns the names of the events that are not events of the function. An event must match
    /// exactly one schema.
    fn reserved(&self) -> Vec<&str> {
        let operation = self.operation;
        let mut names = Vec::new();
        if operation.error.is_some() || operation.reads_topics {
            names.push(operation.error_event);
        }
        if operation.has_framework_events {
            if operation.reads_topics {
                names.push("gap");
            }
            names.extend(["close", "done"]);
            names.extend(operation.keep_alive_event);
        }
        names
    }
}

enum EventName {
    Known(String),
    Framework(String),
    Message,
    Open,
}

/// Splits a doc comment into its first paragraph and the rest.
pub(super) fn summary(docs: &str) -> (String, &str) {
    let docs = docs.trim();
    let (summary, description) = docs.split_once("\n\n").unwrap_or((docs, ""));
    let words: Vec<&str> = summary.split_whitespace().collect();
    (words.join(" "), description.trim())
}

/// Returns the schema that allows one of several schemas.
fn one_of(keyword: &str, mut schemas: Vec<Value>) -> Value {
    match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({ keyword: schemas }),
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
        .unwrap_or("The stream does not begin.")
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

/// Returns the schema of the error of a run. It is either a problem or the error that the run has
/// returned, which is not known here.
fn run_error() -> Value {
    json!({ "type": "object" })
}
