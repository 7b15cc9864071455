//! Generates the OpenAPI document.

mod items;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

pub(super) use self::items::{gap, task_error};
use super::{
    Info,
    operation::{Failure, Operation, Problem},
    schemas::Named,
};

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
