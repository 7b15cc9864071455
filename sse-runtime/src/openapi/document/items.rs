//! Describes the events of a stream.

use serde_json::{Value, json};

use super::{Printer, Version, one_of};
use crate::{
    event::gap::GapReason,
    generator::run_failure::INTERNAL_ERROR,
    openapi::operation::{Data, Failure, Name, Problem},
};

impl Printer<'_> {
    /// Returns the schema of the stream's events.
    pub(super) fn items(&mut self) -> Value {
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

/// Returns the schema of the data of a `gap` event.
pub(in crate::openapi) fn gap() -> Value {
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
pub(in crate::openapi) fn task_error() -> Value {
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
