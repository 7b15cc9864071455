//! What is probably wrong with an endpoint, and cannot be sure: `allow(…)` silences each by its name.

use proc_macro2::Span;
use syn::{LitStr, Type, spanned::Spanned as _};

use crate::{
    args::{FEW_CAPTURES, UNREAD_CAPTURE},
    endpoint::Endpoint,
    path,
    types::{last_name, spelled, type_arguments},
    warning::Warning,
};

/// Extractors that surely do not read the path.
const LEAVE_THE_PATH: [&str; 13] = [
    "Bytes",
    "ConnectInfo",
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

/// What is probably wrong. `nest("/rooms/{room}", …)` adds captures, so this is never sure.
pub(crate) fn warnings(endpoint: &Endpoint) -> Vec<Warning> {
    let Some(literal) = &endpoint.args.path else {
        return Vec::new();
    };
    let path = literal.value();
    let captures = path::captures(&path);
    let unread = unread_capture(endpoint, literal, &captures);
    let few = endpoint
        .extractors()
        .filter_map(|ty| few_captures(ty, &captures));
    let mut warnings: Vec<Warning> = unread.into_iter().chain(few).collect();
    warnings.retain(|warning| !endpoint.args.allow.iter().any(|name| name == warning.name));
    warnings
}

/// A capture that none of the arguments reads, as far as their names tell.
fn unread_capture(endpoint: &Endpoint, literal: &LitStr, captures: &[&str]) -> Option<Warning> {
    let first = captures.first()?;
    let ignores_path =
        |ty: &Type| last_name(ty).is_some_and(|name| LEAVE_THE_PATH.contains(&name.as_str()));
    endpoint.extractors().all(ignores_path).then(|| Warning {
        name: UNREAD_CAPTURE,
        span: literal.span(),
        message: format!("`{{{first}}}` is never read; add `Path({first}): Path<u64>`"),
    })
}

/// A `Path` that takes fewer values than the path has captures, which axum answers with a 500.
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
                "the path has {has} capture{plural}, `{found}` takes {takes}; take one of each, `Path<(A, B)>`"
            ),
        }
    })
}

/// How many captures a type takes; `None`, where its name does not tell.
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
