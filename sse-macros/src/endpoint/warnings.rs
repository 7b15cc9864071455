//! Warnings about code that is probably, but not certainly, wrong. To silence a warning, pass its
//! name to `allow(…)`.

use syn::{LitStr, Type, spanned::Spanned as _};

use super::{
    args::{EventName, Method, OnShutdown},
    lints::{HeldGuard, Suspect},
    model::Endpoint,
    path,
    warning_names::{
        BLOCKING_CALL, BODY_ON_GET, BUSY_LOOP, DETACHED_TASK, EARLY_YIELD, FEW_CAPTURES,
        FINISH_WITHOUT_END, LOCK_ACROSS_YIELD, UNREAD_CAPTURE,
    },
};
use crate::support::{
    reserved_name::{self, RESERVED_NAME},
    types::{last_name, spelled, type_arguments},
    warning::Warning,
};

/// Extractors that never read the path.
const LEAVE_THE_PATH: [&str; 14] = [
    "Bytes",
    "ConnectInfo",
    "Connection",
    "Extension",
    "Form",
    "HeaderMap",
    "Host",
    "Json",
    "LastEventId",
    "Method",
    "Query",
    "RawQuery",
    "State",
    "String",
];

/// Returns all warnings that the user has not silenced.
pub(crate) fn warnings(endpoint: &Endpoint) -> Vec<Warning> {
    let mut warnings = of_captures(endpoint);
    warnings.extend(of_method(endpoint));
    warnings.extend(endpoint.findings.suspects.iter().map(of_body));
    warnings.extend(finish_without_end(endpoint));
    warnings.extend(early_yield(endpoint));
    warnings.extend(reserved_names(endpoint));
    warnings.extend(endpoint.findings.held_locks.iter().map(lock_across_yield));
    warnings.retain(|warning| !endpoint.args.allow.contains(warning.name));
    warnings
}

/// Compares the arguments with the path's captures. A router's `nest("/rooms/{room}", …)` can add
/// captures to the path, so mismatches are only warnings.
fn of_captures(endpoint: &Endpoint) -> Vec<Warning> {
    let Some(literal) = &endpoint.args.path else {
        return Vec::new();
    };
    let path = literal.value();
    let captures = path::captures(&path);
    let unread = unread_capture(endpoint, literal, &captures);
    let few = endpoint
        .extractors()
        .filter_map(|ty| few_captures(ty, &captures));
    unread.into_iter().chain(few).collect()
}

/// Checks the arguments against the HTTP method.
fn of_method(endpoint: &Endpoint) -> impl Iterator<Item = Warning> {
    let is_get = endpoint.args.method.get().is_none_or(Method::is_get);
    endpoint
        .extractors()
        .filter(move |_| is_get)
        .filter_map(body_on_get)
}

/// Returns the warning for suspicious code in the body.
fn of_body(suspect: &Suspect) -> Warning {
    let (name, span, message) = match suspect {
        Suspect::Blocks { at, call, way_out } => (
            BLOCKING_CALL,
            at,
            format!("`{call}` blocks the thread and all tasks on it; {way_out}"),
        ),
        Suspect::Detached { at } => (
            DETACHED_TASK,
            at,
            "this task keeps running after the client disconnects\n\
             help: to end it with the stream, start it with `connection.spawn(…)` from the `Connection` extractor"
                .to_owned(),
        ),
        Suspect::Spins { at, is_empty } => (BUSY_LOOP, at, busy_loop(*is_empty).to_owned()),
    };
    Warning {
        name,
        span: *span,
        message,
    }
}

fn busy_loop(is_empty: bool) -> &'static str {
    if is_empty {
        "this loop blocks the thread forever; to wait forever, use `std::future::pending::<()>().await`"
    } else {
        "this loop blocks the thread forever; add an `.await` or a `yield_!(…)` to it"
    }
}

/// Warns about `on_shutdown = "finish"` on a stream that never finishes.
fn finish_without_end(endpoint: &Endpoint) -> Option<Warning> {
    let finishes = matches!(endpoint.args.on_shutdown.get(), Some(OnShutdown::Finish));
    let span = endpoint.args.on_shutdown.span().filter(|_| finishes)?;
    endpoint.findings.never_ending.map(|_| Warning {
        name: FINISH_WITHOUT_END,
        span,
        message:
            "this stream never ends on its own, so `finish` always waits for the whole drain time\n\
                  help: remove the key, or exit the loop at some point"
                .to_owned(),
    })
}

/// Warns about a `yield_!` after which errors become events instead of statuses. The compiler
/// accepts such code if the response and the stream have the same error type.
fn early_yield(endpoint: &Endpoint) -> Option<Warning> {
    let span = endpoint.findings.early_yield?;
    endpoint.returns.as_ref()?.has_one_error().then(|| Warning {
        name: EARLY_YIELD,
        span,
        message: "errors after this call are sent as events and cannot set the status\n\
                  help: move this call below each `?` and `return Err(…)` that should set the status"
            .to_owned(),
    })
}

/// Warns about a lock guard that is held until a client has read an event.
fn lock_across_yield(HeldGuard { at, call, name }: &HeldGuard) -> Warning {
    let way_out = match name {
        Some(name) => format!("copy the data, and call `drop({name})` before the `yield_!`"),
        None => "copy the data into a variable first, so that the guard is dropped".to_owned(),
    };
    Warning {
        name: LOCK_ACROSS_YIELD,
        span: *at,
        message: format!(
            "the guard returned by this `.{call}()` is held across a `yield_!`, so a slow client blocks every task that waits for the lock\nhelp: {way_out}"
        ),
    }
}

/// Warns about event names that the framework or `EventSource` uses for its own events.
fn reserved_names(endpoint: &Endpoint) -> impl Iterator<Item = Warning> {
    let keep_alive = endpoint.args.keep_alive_event.get().and_then(|EventName(name)| {
        let problem = match name.value().as_str() {
            "message" => Some(
                "browsers pass `message` events to `onmessage`, like events without a name; choose another name"
                    .to_owned(),
            ),
            name => reserved_name::problem(name),
        };
        Some((name, problem?))
    });
    // `error` is the key's default value, so it is allowed.
    let error = endpoint.args.error_event.get().and_then(|EventName(name)| {
        let problem = reserved_name::problem(&name.value()).filter(|_| name.value() != "error");
        Some((name, problem?))
    });
    let named = keep_alive.into_iter().chain(error);
    named.map(|(name, message)| Warning {
        name: RESERVED_NAME,
        span: name.span(),
        message,
    })
}

/// Warns about a capture if the names of the argument types suggest that no argument reads it.
fn unread_capture(endpoint: &Endpoint, literal: &LitStr, captures: &[&str]) -> Option<Warning> {
    let first = captures.first()?;
    let ignores_path =
        |ty: &Type| last_name(ty).is_some_and(|name| LEAVE_THE_PATH.contains(&name.as_str()));
    endpoint.extractors().all(ignores_path).then(|| Warning {
        name: UNREAD_CAPTURE,
        span: literal.span(),
        message: format!(
            "the `{{{first}}}` capture is never read; add the argument `Path({first}): Path<u64>`"
        ),
    })
}

/// Warns about a `Path` that extracts fewer values than the path has captures. axum would respond
/// to every request with a 500.
fn few_captures(ty: &Type, captures: &[&str]) -> Option<Warning> {
    let values = *type_arguments(ty, "Path")?.first()?;
    let (has, takes) = (captures.len(), captured_by(values)?);
    (takes < has).then(|| {
        let plural = if has == 1 { "" } else { "s" };
        let found = spelled(ty);
        Warning {
            name: FEW_CAPTURES,
            span: ty.span(),
            message: format!(
                "the path has {has} capture{plural}, but `{found}` extracts {takes}; extract all of them, as in `Path<(A, B)>`"
            ),
        }
    })
}

/// Warns about a `GET` endpoint with an extractor that reads the body, because `GET` requests do
/// not have a body. `Form` is allowed because it reads the query if the method is `GET`.
fn body_on_get(ty: &Type) -> Option<Warning> {
    const READ_THE_BODY: [&str; 4] = ["Bytes", "Json", "Multipart", "String"];
    let name = last_name(ty)?;
    if !READ_THE_BODY.contains(&name.as_str()) {
        return None;
    }
    let found = spelled(ty);
    let query = match type_arguments(ty, "Json").unwrap_or_default().first() {
        Some(value) => format!("Query<{}>", spelled(value)),
        None => "Query<T>".to_owned(),
    };
    Some(Warning {
        name: BODY_ON_GET,
        span: ty.span(),
        message: format!(
            "`{found}` reads the body, but a `GET` request has no body; add `method = POST`, or use `{query}`"
        ),
    })
}

/// Returns the number of captures that a type reads, or `None` if the number is not clear from the
/// type's name.
fn captured_by(values: &Type) -> Option<usize> {
    const SCALARS: [&str; 16] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64",
        "u128", "usize", "String",
    ];
    match values {
        Type::Tuple(tuple) => Some(tuple.elems.len()),
        scalar if SCALARS.contains(&last_name(scalar)?.as_str()) => Some(1),
        _ => None,
    }
}
