//! `#[derive(SseEvent)]`

mod bounds;
mod expand;
mod model;

use proc_macro2::TokenStream;

use crate::support::errors::Errors;

pub(crate) fn derive(input: syn::DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let model = model::Model::new(input, &mut errors);
    expand::expand(&model, errors)
}
