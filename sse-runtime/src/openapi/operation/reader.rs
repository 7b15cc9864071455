//! [`operation`]: reads an endpoint's contract and describes the endpoint.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::{
    super::{
        path::{self, Template},
        schemas::Schemas,
    },
    Data, Event, Name, Operation,
};
use crate::{
    config::{End, Endpoint},
    event::contract::{Argument, Content, Contract, Part},
};

/// Describes an endpoint, and adds everything that has no schema to `untyped`.
pub(in super::super) fn operation(
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
        stops: endpoint.end == End::Stop
            || contents.contains(&Content::Done)
            || has_framework_events,
        has_framework_events,
        keep_alive: endpoint.keep_alive,
        keep_alive_event: endpoint.keep_alive_event,
        error_event: endpoint.error_event,
        events,
        error,
        relays: contents.contains(&Content::Relays),
        reads_topics: contents.contains(&Content::Topics),
        spawns_tasks: has_framework_events
            && contents.contains(&Content::Tasks)
            && has(Part::Connection),
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

/// Reads the parts of a contract. Most of its methods are in the modules `request`, `events` and
/// `failures`.
pub(super) struct Reader<'a> {
    pub(super) schemas: &'a mut Schemas,
    untyped: &'a mut Vec<String>,
    operation: &'a str,
}

impl Reader<'_> {
    pub(super) fn untyped(&mut self, what: impl std::fmt::Display) {
        self.untyped.push(format!("{}: {what}", self.operation));
    }
}
