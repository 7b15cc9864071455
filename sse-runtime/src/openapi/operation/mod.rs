//! [`Operation`]: the description of an endpoint, from which both the document and the TypeScript
//! client are generated.

mod events;
mod failures;
mod reader;
mod request;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::Value;

pub(super) use self::reader::operation;
use super::{path::Template, schemas::free};

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
    /// Whether the function relays events from other servers, which can have any name.
    pub(super) relays: bool,
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

impl Failure {
    pub(super) fn problems(&self) -> &[Problem] {
        match self {
            Self::Problems { problems, .. } => problems,
            Self::Value(_) | Self::Text | Self::Response => &[],
        }
    }
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

    /// Returns whether a client cannot check the data of the event that reports an error, because
    /// the data need not be a problem with a code.
    pub(super) fn has_unchecked_errors(&self) -> bool {
        match self.error {
            Some(Failure::Value(_) | Failure::Text | Failure::Response) => true,
            // The function does not declare the errors of runs and of upstreams.
            None => self.reads_topics || self.relays,
            Some(Failure::Problems { .. }) => false,
        }
    }

    /// Returns whether the endpoint declares an error that can end the stream.
    pub(super) fn has_error_event(&self) -> bool {
        self.error.is_some() || self.reads_topics || self.spawns_tasks
    }
}

/// Removes leading and trailing whitespace from a doc comment.
pub(super) fn trimmed(docs: &str) -> &str {
    docs.trim()
}
