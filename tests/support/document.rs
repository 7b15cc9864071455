//! [`Document`]: checks events and responses against an OpenAPI 3.2 document.

use std::{collections::HashMap, sync::Arc};

use eventsource_stream::{Event, Eventsource as _};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use jsonschema::Validator;
use serde_json::{Value, json};

/// An OpenAPI document. Methods return a description of what does not match.
#[derive(Debug)]
pub struct Document {
    document: Value,
    /// The validators of schemas that have been used, by the schema's JSON.
    validators: HashMap<String, Validator>,
    /// The schemas of the events of operations that have been used.
    items: HashMap<String, Arc<Value>>,
}

impl Document {
    pub fn new(document: Value) -> Self {
        Self {
            document,
            validators: HashMap::new(),
            items: HashMap::new(),
        }
    }

    /// Returns the description of an operation.
    pub fn operation(&self, id: &str) -> Value {
        let paths = self.document["paths"].as_object();
        let mut operations = paths
            .into_iter()
            .flat_map(|paths| paths.values())
            .filter_map(Value::as_object)
            .flat_map(|item| item.values());
        let operation = operations.find(|operation| operation["operationId"] == id);
        operation
            .unwrap_or_else(|| panic!("the document has no operation `{id}`"))
            .clone()
    }

    /// Checks an event of an operation's stream, and returns its decoded data.
    ///
    /// The event must match exactly one of the schemas, with and without the name `message`: the
    /// specification does not say what `event` is if the field is missing.
    pub fn check_event(&mut self, operation: &str, event: &Event) -> Result<Value, String> {
        let items = self.items(operation)?;
        let mut instance = json!({ "event": event.event, "data": event.data });
        if !event.id.is_empty() {
            instance["id"] = json!(event.id);
        }
        if let Some(retry) = event.retry {
            instance["retry"] = json!(retry.as_millis());
        }
        let described = self.check_item(&items, &instance, &event.data)?;
        if event.event == "message"
            && let Some(members) = instance.as_object_mut()
        {
            members.remove("event");
            self.check_item(&items, &instance, &event.data)?;
        }
        Ok(described)
    }

    /// Returns the schema of an operation's events.
    fn items(&mut self, operation: &str) -> Result<Arc<Value>, String> {
        if let Some(items) = self.items.get(operation) {
            return Ok(Arc::clone(items));
        }
        let content = "/responses/200/content/text~1event-stream/itemSchema";
        let described = self.operation(operation);
        let items = described.pointer(content);
        let items = Arc::new(items.ok_or("the response has no `itemSchema`")?.clone());
        self.items.insert(operation.to_owned(), Arc::clone(&items));
        Ok(items)
    }

    fn check_item(&mut self, items: &Value, item: &Value, data: &str) -> Result<Value, String> {
        self.check(items, item)?;
        let schemas = match items["oneOf"].as_array() {
            Some(schemas) => schemas.clone(),
            None => vec![items.clone()],
        };
        let schema = schemas
            .iter()
            .find(|schema| self.check(schema, item).is_ok());
        let schema = schema.ok_or("no schema allows the event")?;
        let schema = self.resolved(schema)["properties"]["data"].clone();
        self.check_data(&schema, data)
    }

    /// Checks the data of an event, which is a string with a schema of its content.
    fn check_data(&mut self, schema: &Value, data: &str) -> Result<Value, String> {
        if let Some(schemas) = schema["anyOf"].as_array() {
            let mut errors = Vec::new();
            for schema in schemas {
                match self.check(schema, &json!(data)) {
                    Ok(()) => match self.check_data(schema, data) {
                        Ok(decoded) => return Ok(decoded),
                        Err(error) => errors.push(error),
                    },
                    Err(error) => errors.push(error),
                }
            }
            return Err(errors.join("; "));
        }
        if schema["contentMediaType"] != "application/json" {
            return Ok(json!(data));
        }
        let content: Value = serde_json::from_str(data)
            .map_err(|error| format!("the data is not JSON ({error}): {data:?}"))?;
        self.check(&schema["contentSchema"], &content)?;
        Ok(content)
    }

    /// Checks a response that is not a stream.
    pub fn check_response(
        &mut self,
        operation: &str,
        status: u16,
        media_type: &str,
        body: &str,
    ) -> Result<(), String> {
        let responses = self.operation(operation)["responses"].clone();
        let response = &responses[status.to_string()];
        if response.is_null() {
            return match responses["default"] {
                Value::Null => Err(format!("the status {status} is not described")),
                _ => Ok(()),
            };
        }
        let described = &response["content"][media_type];
        match media_type {
            _ if response["content"].is_null() && body.is_empty() => Ok(()),
            _ if described.is_null() => Err(format!("{media_type} with {status} is not described")),
            "application/problem+json" => {
                let body = serde_json::from_str(body).map_err(|error| error.to_string())?;
                self.check(&described["schema"], &body)
            }
            _ => self.check(&described["schema"], &json!(body)),
        }
    }

    /// Checks data against the response of an OpenAPI 3.1 document, which describes the data alone.
    pub fn check_older(&mut self, operation: &str, data: &Value) -> Result<(), String> {
        let content = "/responses/200/content/text~1event-stream/schema";
        let operation = self.operation(operation);
        let schema = operation.pointer(content);
        let schema = schema.ok_or("the response has no `schema`")?.clone();
        self.check(&schema, data)
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.trim_start_matches('#');
                self.document.pointer(pointer).unwrap_or(schema)
            }
            None => schema,
        }
    }

    fn check(&mut self, schema: &Value, instance: &Value) -> Result<(), String> {
        let key = schema.to_string();
        if !self.validators.contains_key(&key) {
            let components = &self.document["components"];
            let whole = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": components,
                "allOf": [schema],
            });
            let validator = jsonschema::validator_for(&whole)
                .map_err(|error| format!("invalid schema {schema}: {error}"))?;
            self.validators.insert(key.clone(), validator);
        }
        let errors = self.validators[&key].iter_errors(instance);
        let errors: Vec<String> = errors
            .map(|error| format!("{error} at `{}`", error.instance_path()))
            .collect();
        match errors.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{instance} does not match {schema}: {}",
                errors.join("; ")
            )),
        }
    }
}

/// Parses a complete stream.
///
/// # Panics
///
/// Panics if the stream is not UTF-8.
pub fn events(stream: impl AsRef<[u8]>) -> Vec<Event> {
    // The parser copies all bytes that it has not parsed yet at each line, so it receives a line at
    // a time.
    let lines = stream.as_ref().split_inclusive(|byte| *byte == b'\n');
    // Unlike the `iter` of `tokio_stream`, this one is always ready, even if the task has used up its
    // budget.
    let lines = stream::iter(lines.map(Ok::<_, std::convert::Infallible>));
    let events = lines.eventsource().map(|event| match event {
        Ok(event) => event,
        Err(error) => panic!("cannot parse the stream: {error}"),
    });
    let events = events.collect().now_or_never();
    events.expect("an iterator is always ready")
}
