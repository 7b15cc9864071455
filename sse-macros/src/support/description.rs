//! The description of an error in the log.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use super::runtime_path::Runtime;

/// How a type describes itself to the log.
pub(crate) fn describe(ty: impl ToTokens, runtime: &Runtime) -> TokenStream {
    let private = runtime.internals();
    quote!({
        #[allow(unused_imports)]
        use #private::{ByDisplay as _, ByError as _, ByNothing as _};
        (&#private::Describes::<#ty>::new()).description()
    })
}
