//! Describes an endpoint to the runtime, which is the same in every module.

use std::collections::BTreeSet;

use super::{
    has_gaps,
    types::{key, text},
};
use crate::{
    generator::run_failure::INTERNAL_ERROR,
    openapi::operation::{Body, Data, Failure, Name, Operation},
};

/// Returns the object literal that describes an endpoint to the runtime.
pub(super) fn literal(operation: &Operation, has_large_integers: bool) -> String {
    let path = operation.path.to_typescript(|name| {
        let mut captures = operation.parameters.iter();
        let capture = captures.find(|parameter| parameter.is_in_path && parameter.name == name);
        capture.map_or_else(|| name.to_owned(), |capture| operation.input_key(capture))
    });
    let mut members = vec![
        format!("method: {}", text(operation.method.as_str())),
        format!("path: {}", text(&path)),
    ];
    let query = operation
        .parameters
        .iter()
        .filter(|parameter| !parameter.is_in_path);
    let query = query.map(|parameter| {
        let (name, key) = (text(&parameter.name), operation.input_key(parameter));
        match key == parameter.name {
            true => name,
            false => format!("[{}, {name}]", text(&key)),
        }
    });
    let query: Vec<String> = query.collect();
    if !query.is_empty() {
        members.push(format!("query: [{}]", query.join(", ")));
    }
    if let Some(body) = &operation.body {
        members.push(format!("body: {}", text(format_of_body(body))));
    }
    if operation.resumes {
        members.push("resumes: true".to_owned());
    }
    let codes: Vec<String> = codes(operation).into_iter().collect();
    if !codes.is_empty() {
        members.push(format!("codes: [{}]", codes.join(", ")));
    }
    if operation.has_unchecked_errors() {
        members.push("unchecked: true".to_owned());
    }
    // The client considers the connection lost if it misses three keep-alives.
    let idle = operation
        .keep_alive
        .map_or(0, |delay| delay.as_millis() * 3);
    members.push(format!("idle: {idle}"));
    // The framework can send an error even if the function declares none.
    let yields_it = operation
        .events
        .iter()
        .any(|event| event.name == Name::Known(operation.error_event));
    if operation.has_error_event() || (operation.has_framework_events && !yields_it) {
        members.push(format!("error: {}", text(operation.error_event)));
        // A run or a task can fail with an error that is not text.
        if let Some(Failure::Text) = operation.error
            && !operation.reads_topics
            && !operation.spawns_tasks
        {
            members.push("problem: \"text\"".to_owned());
        }
    }
    if !operation.has_framework_events {
        members.push("own: true".to_owned());
    }
    if let Some(name) = operation.keep_alive_event {
        members.push(format!("ping: {}", text(name)));
    }
    let events = decoding(operation);
    members.push(match events.is_empty() {
        true => "events: {}".to_owned(),
        false => format!("events: {{ {} }}", events.join(", ")),
    });
    // Without a format, the client decides for each event.
    let others = operation.events.iter();
    let others = others.filter(|event| event.name == Name::Open);
    let mut formats = others.map(|event| format_of(&event.data));
    if let Some(format) = formats.next()
        && formats.all(|other| other == format)
    {
        members.push(format!("other: {}", text(format)));
    }
    if has_large_integers {
        members.push("large: true".to_owned());
    }
    format!("{{ {} }}", members.join(", "))
}

/// Returns the codes of the problems that the endpoint declares, and the statuses of the problems
/// whose codes are set by a field.
fn codes(operation: &Operation) -> BTreeSet<String> {
    let failures = [&operation.rejection, &operation.error];
    let problems = failures.into_iter().flatten().flat_map(Failure::problems);
    let codes = problems.map(|problem| {
        let code = problem.schema["properties"]["code"]["const"].as_str();
        code.map_or_else(|| problem.status.as_u16().to_string(), text)
    });
    let task = operation.spawns_tasks.then(|| text(INTERNAL_ERROR));
    codes.chain(task).collect()
}

/// Returns how the data of each event is decoded. If events with the same name have different
/// formats, the client decides for each event.
fn decoding(operation: &Operation) -> Vec<String> {
    let mut formats: Vec<(&str, Vec<&str>)> = Vec::new();
    let events = operation.events.iter().filter_map(|event| {
        let name = match event.name {
            Name::Known(name) => name,
            Name::Message => "message",
            Name::Open => return None,
        };
        Some((name, format_of(&event.data)))
    });
    for (name, format) in events.chain(has_gaps(operation).then_some(("gap", "json"))) {
        match formats.iter_mut().find(|(other, _)| *other == name) {
            Some((_, formats)) => formats.push(format),
            None => formats.push((name, vec![format])),
        }
    }
    let formats = formats.iter().filter_map(|(name, formats)| {
        let is_same = formats.iter().all(|format| *format == formats[0]);
        let constant = match INHERITED.contains(name) {
            true => " as const",
            false => "",
        };
        is_same.then(|| format!("{}: {}{constant}", key(name), text(formats[0])))
    });
    formats.collect()
}

/// The members of `Object.prototype`. TypeScript does not infer the types of their values from the type
/// of the object, nor that of a computed key.
const INHERITED: [&str; 8] = [
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

fn format_of(data: &Data) -> &'static str {
    match data {
        Data::Json(_) => "json",
        Data::Text => "text",
        Data::Empty => "empty",
    }
}

/// Returns how the client sends a request body.
pub(super) fn format_of_body(body: &Body) -> &'static str {
    match body.media_type {
        "application/json" => "json",
        "application/x-www-form-urlencoded" => "form",
        "application/octet-stream" => "bytes",
        _ => "text",
    }
}
