//! Selects how errors are described in the log.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use super::runtime_path::Runtime;

/// Generates an expression that selects how to describe values of type `ty`. Depending on the
/// traits that `ty` implements, the description uses `Display`, `Error` or the type name.
pub(crate) fn describe(ty: impl ToTokens, runtime: &Runtime) -> TokenStream {
    let private = runtime.internals();
    quote!({
        #[allow(unused_imports)]
        use #private::{ByDisplay as _, ByError as _, ByNothing as _};
        (&#private::Describes::<#ty>::new()).description()
    })
}
