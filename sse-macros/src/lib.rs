//! The attribute `#[sse_endpoint]`, and the derives `SseEvent` and `SseError`. Depend on `sse-runtime`, which re-exports
//! and documents them.
//!
//! Data flows one way: `tokens -> args + body facts -> endpoint (model) -> check -> expand`, and in each derive
//! `tokens -> model -> expand`.

mod args;
mod attributes;
mod body;
mod case;
mod check;
mod comma_list;
mod conditional;
mod description;
mod early;
mod endpoint;
mod errors;
mod event_name;
mod expand;
mod known_macros;
mod lints;
mod locks;
mod loops;
mod misplaced;
mod path;
mod reserved;
mod returns;
mod runtime;
mod serde_attribute;
mod sse_attribute;
mod sse_error;
mod sse_event;
mod suspects;
mod tokens;
mod types;
mod warning;
mod yields;

use proc_macro2::TokenStream;

// Documented on its re-export in `sse-runtime`, where the examples can run.
#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn sse_endpoint(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    endpoint(attribute.into(), item.into()).into()
}

// Documented on its re-export in `sse-runtime`.
#[allow(missing_docs)]
#[proc_macro_derive(SseEvent, attributes(sse, serde))]
pub fn sse_event(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    match syn::parse(item) {
        Ok(input) => sse_event::derive(input).into(),
        // The compiler has said what is wrong with it.
        Err(_) => proc_macro::TokenStream::new(),
    }
}

// Documented on its re-export in `sse-runtime`.
#[allow(missing_docs)]
#[proc_macro_derive(SseError, attributes(sse, serde))]
pub fn sse_error(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    match syn::parse(item) {
        Ok(input) => sse_error::derive(input).into(),
        // The compiler has said what is wrong with it.
        Err(_) => proc_macro::TokenStream::new(),
    }
}

/// The item, which is there in any case, and all the errors at once.
fn endpoint(attribute: TokenStream, item: TokenStream) -> TokenStream {
    if let Some(both) = conditional::both_outcomes(&attribute, &item) {
        return both;
    }
    let mut errors = errors::Errors::default();
    let args = args::Args::parse(attribute, &mut errors);
    match endpoint::function(item, &mut errors) {
        Ok(function) => {
            let rewritten = function.rewritten();
            let endpoint = endpoint::Endpoint::new(args, function, &mut errors);
            check::check(&endpoint, &mut errors);
            match rewritten {
                // Its code is not the user's, so nothing else that is wrong with it is worth saying.
                Some(error) if !errors.is_empty() => expand::stub(&endpoint, error.into()),
                _ => expand::expand(&endpoint, errors),
            }
        }
        Err(item) => {
            let errors = errors.into_compile_errors();
            quote::quote!(#(#errors)* #item)
        }
    }
}

#[cfg(test)]
mod tests;
