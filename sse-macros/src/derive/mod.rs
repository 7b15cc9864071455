//! The derive macros. Each macro has two stages, `model` and `expand`.

mod case;
mod serde_attribute;
mod sse_attribute;
pub(crate) mod sse_error;
pub(crate) mod sse_event;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

fn option(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
