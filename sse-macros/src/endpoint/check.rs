//! Checks the signature as a whole after its parts have been parsed.

use syn::{FnArg, Generics, Signature, Type};

use super::{
    model::Endpoint,
    returns::{Form, Returns},
};
use crate::support::{
    errors::Errors,
    types::{borrows, is_short, last_name, spelled},
};

/// The maximum number of extractors that axum's `Handler` supports.
const MOST_EXTRACTORS: usize = 16;

/// The names of axum's extractors that read the body. Types from other crates can have the same
/// names.
const READ_THE_BODY: [&str; 6] = ["Bytes", "Form", "Json", "Multipart", "RawForm", "String"];

pub(crate) fn check(endpoint: &Endpoint, errors: &mut Errors) {
    check_function(endpoint, errors);
    check_extractors(endpoint, errors);
}

fn check_function(endpoint: &Endpoint, errors: &mut Errors) {
    let sig = &endpoint.function.sig;
    if sig.asyncness.is_none() {
        errors.at(
            sig.fn_token,
            "an endpoint must be `async`; add `async` before `fn`",
        );
    }
    if let Some(token) = &sig.constness {
        errors.at(
            token,
            "an endpoint cannot be `const`, since it is `async`; remove `const`",
        );
    }
    if let syn::Safety::Unsafe(token) = &sig.safety {
        errors.at(
            token,
            "an endpoint cannot be `unsafe`, since the router calls it; use an `unsafe` block in its body",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "an endpoint cannot be `extern`; remove `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(
            variadic,
            "an endpoint cannot be variadic; declare each extractor as an argument",
        );
    }
    check_generics(&sig.generics, errors);
    if let (Some(span), Some(Form::Stream | Form::TryStream)) = (
        endpoint.args.head_after.span(),
        endpoint.returns.as_ref().map(Returns::form),
    ) {
        errors.at_span(
            span,
            "`head_after` has no effect, since the head of this response is not held back\n\
             help: remove the key, or return a `Result<impl Stream<…>, E>` to run statements before the response",
        );
    }
}

fn check_generics(generics: &Generics, errors: &mut Errors) {
    if generics.type_params().next().is_some() || generics.const_params().next().is_some() {
        errors.at(
            generics,
            "an endpoint cannot be generic, since a route has a concrete type\n\
             help: write one endpoint per type, and call a generic function from each endpoint",
        );
    } else if !generics.params.is_empty() {
        errors.at(
            generics,
            "an endpoint cannot have lifetime parameters, since its arguments must be owned types; remove the parameters",
        );
    } else if let Some(clause) = &generics.where_clause {
        errors.at(
            clause,
            "an endpoint cannot be generic, so it cannot have a `where` clause; remove the clause",
        );
    }
}

/// Returns `true` if the endpoint can be mounted with this signature, even if the endpoint has
/// other errors.
pub(crate) fn has_route(sig: &Signature) -> bool {
    sig.inputs.len() <= MOST_EXTRACTORS
        && sig.generics.params.is_empty()
        && sig.variadic.is_none()
        && early_body(sig).is_none()
        && sig.inputs.iter().all(|input| match input {
            FnArg::Receiver(_) => false,
            FnArg::Typed(arg) => problem_of(&arg.ty).is_none(),
        })
}

fn check_extractors(endpoint: &Endpoint, errors: &mut Errors) {
    let inputs = &endpoint.function.sig.inputs;
    if let Some(extra) = inputs.iter().nth(MOST_EXTRACTORS) {
        errors.at(
            extra,
            format_args!(
                "axum supports at most {MOST_EXTRACTORS} extractors; combine some of them into a tuple"
            ),
        );
    }
    for input in inputs {
        match input {
            FnArg::Receiver(receiver) => errors.at(
                receiver,
                "an endpoint cannot be a method; pass shared data with `State<T>`",
            ),
            FnArg::Typed(arg) => {
                if let Some(problem) = problem_of(&arg.ty) {
                    errors.at(&arg.ty, problem);
                }
            }
        }
    }
    if let Some(early) = early_body(&endpoint.function.sig) {
        let found = spelled(early);
        errors.at(
            early,
            format_args!(
                "`{found}` reads the request body, so it must be the last argument; move it to the end"
            ),
        );
    }
    check_second(
        endpoint,
        errors,
        reads_the_body,
        "the request body can be read only once, but another argument already reads it; remove one of them",
    );
    check_second(
        endpoint,
        errors,
        |ty| last_name(ty).is_some_and(|name| name == "Path"),
        "use a single `Path` for all captures, as in `Path((a, b)): Path<(A, B)>`",
    );
}

fn reads_the_body(ty: &Type) -> bool {
    last_name(ty).is_some_and(|name| READ_THE_BODY.contains(&name.as_str()))
}

/// Returns the extractor that reads the body, if there is exactly one such extractor and it is not
/// the last argument.
///
/// A type with the same name as one of axum's extractors is skipped if its path starts with another
/// crate, as in `crate::Json<T>`.
fn early_body(sig: &Signature) -> Option<&Type> {
    const CRATES: [&str; 4] = ["axum", "axum_extra", "bytes", "std"];
    let is_axums = |ty: &Type| match ty {
        Type::Path(path) => {
            let segments = &path.path.segments;
            segments.len() == 1 || CRATES.iter().any(|name| segments[0].ident == name)
        }
        _ => false,
    };
    let types = sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(arg) => Some(&*arg.ty),
        FnArg::Receiver(_) => None,
    });
    let types: Vec<&Type> = types.collect();
    let (_, rest) = types.split_last()?;
    if types.iter().filter(|ty| reads_the_body(ty)).count() > 1 {
        return None;
    }
    rest.iter()
        .find(|ty| reads_the_body(ty) && is_axums(ty))
        .copied()
}

/// Returns a message that explains why a type cannot be an extractor, or `None` if it can.
fn problem_of(ty: &Type) -> Option<String> {
    let found = || spelled(ty);
    match ty {
        Type::ImplTrait(_) => {
            Some("an extractor cannot be `impl Trait`; write its concrete type".into())
        }
        Type::Reference(reference) if is_short(reference.lifetime.as_ref()) => {
            let owned = match spelled(&reference.elem).as_str() {
                "str" => "String".to_owned(),
                owned => owned.to_owned(),
            };
            let found = found();
            Some(format!(
                "an extractor must be an owned type; use `{owned}` instead of `{found}`"
            ))
        }
        _ if borrows(ty) => {
            let found = found();
            Some(format!(
                "an extractor must be an owned type, but `{found}` borrows; use an owned type"
            ))
        }
        _ => None,
    }
}

/// Reports every argument of a given kind except the first, because an endpoint can have only one
/// such argument.
fn check_second(
    endpoint: &Endpoint,
    errors: &mut Errors,
    is_kind: impl Fn(&Type) -> bool,
    message: &str,
) {
    for second in endpoint.extractors().filter(|ty| is_kind(ty)).skip(1) {
        errors.at(second, message);
    }
}
