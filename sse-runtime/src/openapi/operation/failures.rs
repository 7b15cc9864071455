//! Describes the errors that a client receives, as events and as responses.

use serde_json::{Map, Value, json};

use super::{Failure, Problem, reader::Reader, trimmed};
use crate::event::contract::{Contract, Delay, Member, Payload, ProblemShape};

impl Reader<'_> {
    pub(super) fn error(&mut self, contract: &Contract) -> Option<Failure> {
        let error = contract.error.filter(|error| !is_never(error))?;
        if error.is_text {
            return Some(Failure::Text);
        }
        Some(self.failure(&error).unwrap_or_else(|| {
            self.untyped(format_args!("the error `{}`", (error.name)()));
            Failure::Value(json!({}))
        }))
    }

    pub(super) fn rejection(&mut self, rejection: &Payload) -> Option<Failure> {
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
pub(super) fn is_never(payload: &Payload) -> bool {
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
