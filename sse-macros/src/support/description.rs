//! Descriptions of errors in the log.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use super::runtime_path::Runtime;

/// Generates an expression that selects how to describe `ty`: by its `Display` implementation, its
/// `Error` implementation or its type name, depending on the traits that it implements.
pub(crate) fn describe(ty: impl ToTokens, runtime: &Runtime) -> TokenStream {
    let private = runtime.internals();
    quote!({
        #[allow(unused_imports)]
        use #private::{ByDisplay as _, ByError as _, ByNothing as _};
        (&#private::Describes::<#ty>::new()).description()
    })
}
