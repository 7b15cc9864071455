//! The attribute `#[sse_endpoint]` and the derives `SseEvent` and `SseError`. Depend on
//! `sse-runtime`, which re-exports and documents them.
//!
//! The attribute is a pipeline; each stage is a module of `endpoint` and uses only those above it:
//!
//! | stage | from | to |
//! | --- | --- | --- |
//! | `conditional` | the tokens | two endpoints, one for each outcome of a `#[cfg]` in the body |
//! | `args` (`path`) | the parentheses of the attribute | `Args`: the route and the keys |
//! | `function` (`misplaced`) | the item | `Function`: the signature, and the statements beside it |
//! | `returns` | the return type | `Returns`: the item, and where errors lead |
//! | `body` | the statements | `Body`: the statements, rewritten |
//! | `lints` | the statements | `Findings`: code that is probably wrong |
//! | `model` | all of the above | `Endpoint` |
//! | `check` | `Endpoint` | errors in the signature as a whole |
//! | `warnings` | `Endpoint` | the warnings that `allow(…)` silences |
//! | `expand` (`attributes`) | `Endpoint` | the tokens of the expansion |
//!
//! A derive has two stages, `model` and `expand`, in a folder of `derive`. All macros use `support`.

mod derive;
mod endpoint;
mod support;

// Documented on its re-export in `sse-runtime`, where the examples can run.
#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn sse_endpoint(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    endpoint::endpoint(attribute.into(), item.into()).into()
}

// Documented on its re-export in `sse-runtime`.
#[allow(missing_docs)]
#[proc_macro_derive(SseEvent, attributes(sse, serde))]
pub fn sse_event(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    match syn::parse(item) {
        Ok(input) => derive::sse_event::derive(input).into(),
        // The compiler has already reported the syntax error.
        Err(_) => proc_macro::TokenStream::new(),
    }
}

// Documented on its re-export in `sse-runtime`.
#[allow(missing_docs)]
#[proc_macro_derive(SseError, attributes(sse, serde))]
pub fn sse_error(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    match syn::parse(item) {
        Ok(input) => derive::sse_error::derive(input).into(),
        // The compiler has already reported the syntax error.
        Err(_) => proc_macro::TokenStream::new(),
    }
}

#[cfg(test)]
mod tests;
