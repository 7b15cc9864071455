//! Describes the parameters and the body of a request.

use axum::http::Method;
use serde_json::{Value, json};

use super::{super::path::Template, Body, Parameter, reader::Reader};
use crate::{
    config::Endpoint,
    event::contract::{Contract, Part, SchemaOf},
};

/// The keywords of schemas that allow members besides `properties`.
const OPEN: [&str; 5] = [
    "additionalProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "patternProperties",
];

impl Reader<'_> {
    pub(super) fn request(
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
                    captures.extend(schema.map(|schema| self.schemas.read_content(schema)));
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
        let inline = schema.map(|schema| self.schemas.read_content(schema));
        let inline = inline.unwrap_or_default();
        let Some(Value::Object(properties)) = inline.get("properties") else {
            self.untyped("the query");
            return Vec::new();
        };
        let is_open = |keyword: &str| inline.get(keyword).is_some_and(|value| *value != false);
        if OPEN.into_iter().any(is_open) {
            self.untyped("the query parameters of a flattened enum or map");
        }
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
