//! The `#[sse_endpoint]` attribute, and the `SseEvent` and `SseError` derives. Do not depend on
//! this crate directly. Use `sse-runtime`, which re-exports and documents these macros.
//!
//! The attribute is implemented as a pipeline that `endpoint/mod.rs` runs. Each stage is a
//! submodule of `endpoint` and uses only the modules above it in this table:
//!
//! | stage | from | to |
//! | --- | --- | --- |
//! | `args` (`path`, `warning_names`) | the attribute's arguments | `Args`: the path and the keys |
//! | `conditional` (`attributes`) | the function | two copies of the function, if it contains a `#[cfg]` |
//! | `function` (`misplaced`) | the item | `Function`: the signature and, separately, the statements |
//! | `returns` | the return type | `Returns`: the item, and where errors are allowed |
//! | `body` | the statements | `Body`: the rewritten statements |
//! | `lints` | the statements | `Findings`: code that is probably wrong |
//! | `model` | all of the above | `Endpoint` |
//! | `check` | `Endpoint` | errors in the signature as a whole |
//! | `warnings` | `Endpoint` | the warnings that `allow(…)` silences |
//! | `expand` | `Endpoint` | the tokens of the expansion |
//!
//! Each derive has two stages, `model` and `expand`, in its own submodule of `derive`. All macros
//! use `support`.

mod derive;
mod endpoint;
mod support;

// The full documentation is on the re-export in `sse-runtime`, because its examples can run there.
// The short text below is for editors, which show only the docs on the macro itself. The short text
// is omitted from rustdoc's output, because rustdoc would append it to the docs on the re-export.
#[allow(missing_docs)]
#[cfg_attr(
    not(doc),
    doc = "Turns an async function that yields into an event endpoint. See [the documentation](https://docs.rs/sse-runtime/latest/sse_runtime/attr.sse_endpoint.html)."
)]
#[proc_macro_attribute]
pub fn sse_endpoint(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    endpoint::endpoint(attribute.into(), item.into()).into()
}

// Documented on the re-export in `sse-runtime`.
#[allow(missing_docs)]
#[proc_macro_derive(SseEvent, attributes(sse, serde))]
pub fn sse_event(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    match syn::parse(item) {
        Ok(input) => derive::sse_event::derive(input).into(),
        // The compiler has already reported the syntax error.
        Err(_) => proc_macro::TokenStream::new(),
    }
}

// Documented on the re-export in `sse-runtime`.
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
