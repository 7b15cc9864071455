//! The attribute `#[sse_endpoint]`, and the derives `SseEvent` and `SseError`. Depend on `sse-runtime`, which re-exports
//! and documents them.
//!
//! Data flows one way: `tokens -> args + body facts -> endpoint (model) -> check -> expand`, and in each derive
//! `tokens -> model -> expand`.

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
        // The compiler has said what is wrong with it.
        Err(_) => proc_macro::TokenStream::new(),
    }
}

// Documented on its re-export in `sse-runtime`.
#[allow(missing_docs)]
#[proc_macro_derive(SseError, attributes(sse, serde))]
pub fn sse_error(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    match syn::parse(item) {
        Ok(input) => derive::sse_error::derive(input).into(),
        // The compiler has said what is wrong with it.
        Err(_) => proc_macro::TokenStream::new(),
    }
}

#[cfg(test)]
mod tests;
