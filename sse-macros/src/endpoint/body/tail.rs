//! Reports an endpoint whose body ends with a value.

use syn::{Expr, Macro, Stmt, parse_quote};

use super::{
    facts::{is_call_of, is_literal},
    known_macros::OWN_GENERATORS,
};
use crate::{endpoint::returns::Form, support::errors::Errors};

/// Reports the tail expression if it is certainly a value. Returns `true` if the value is a stream.
/// In that case, the user did not intend the function to yield.
pub(super) fn refuse_tail_value(
    statements: &mut [Stmt],
    form: Option<Form>,
    yields: bool,
    errors: &mut Errors,
) -> bool {
    const RETURNS_STREAM: &str = "an endpoint yields events instead of returning a stream\n\
                                  help: pass the stream to `yield_all!(…)`, or replace each `yield` with `yield_!(…)`";
    let (tail, semicolon) = match statements.last_mut() {
        Some(Stmt::Expr(tail, semicolon @ None)) => (tail, semicolon),
        Some(Stmt::Macro(call)) if call.semi_token.is_none() && is_generator(&call.mac) => {
            errors.at(&*call, RETURNS_STREAM);
            call.semi_token = Some(parse_quote!(;));
            return true;
        }
        _ => return false,
    };
    let is_stream = is_stream(tail, yields);
    let problem = if is_stream {
        RETURNS_STREAM
    } else if is_call_of(tail, "Ok") {
        "the stream ends when the function returns; remove this `Ok(…)`"
    } else if is_call_of(tail, "Err") && form != Some(Form::Stream) {
        "the stream ends when the function returns; to end it with an error, write `return Err(…);`"
    } else if is_call_of(tail, "Err") || is_call_of(tail, "Some") || is_literal(tail) {
        "the stream ends when the function returns; send this value with `yield_!(…)`, or remove it"
    } else {
        return false;
    };
    errors.at(&*tail, problem);
    // The semicolon prevents the compiler from reporting the expression again.
    *semicolon = Some(parse_quote!(;));
    is_stream
}

/// Returns `true` if the tail expression can only be a stream that the user meant to return.
fn is_stream(tail: &Expr, yields: bool) -> bool {
    match tail {
        Expr::Macro(call) => is_generator(&call.mac),
        Expr::Call(call) if is_call_of(tail, "Ok") => call.args.first().is_some_and(|value| {
            is_stream(value, yields)
                || (!yields && matches!(value, Expr::Call(_) | Expr::MethodCall(_)))
        }),
        // Calls such as `Box::pin(stream! { … })`.
        Expr::Call(call) => call
            .args
            .iter()
            .any(|value| matches!(value, Expr::Macro(call) if is_generator(&call.mac))),
        Expr::Path(_) => !yields,
        _ => false,
    }
}

/// Returns `true` if this is a call to a macro that creates its own generator, such as `stream!`.
fn is_generator(mac: &Macro) -> bool {
    let name = mac.path.segments.last();
    name.is_some_and(|name| {
        OWN_GENERATORS
            .iter()
            .any(|generator| name.ident == generator)
    })
}
