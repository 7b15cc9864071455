//! Implements the `#[sse_endpoint]` attribute. The crate docs list the stages of the attribute's
//! pipeline.

mod args;
mod attributes;
mod body;
mod check;
mod conditional;
mod expand;
mod function;
mod lints;
mod misplaced;
mod model;
mod path;
mod returns;
mod warning_names;
mod warnings;

use proc_macro2::TokenStream;

use crate::support::errors::Errors;

/// Expands the attribute. The output contains the item even if there are errors.
pub(crate) fn endpoint(attribute: TokenStream, item: TokenStream) -> TokenStream {
    if let Some(both) = conditional::both_outcomes(&attribute, &item) {
        return both;
    }
    let mut errors = Errors::default();
    let args = args::Args::parse(attribute, &mut errors);
    match function::function(item, &mut errors) {
        Ok(function) => {
            let rewritten = function.rewritten();
            let endpoint = model::Endpoint::new(args, function, &mut errors);
            check::check(&endpoint, &mut errors);
            match rewritten {
                // Another attribute rewrote the body. Further errors would concern generated code
                // and would only be confusing.
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
