//! What `yield_!` and `yield_all!` become.
//!
//! Where the reader sees them, they are written out, so that what the compiler says of them points at the user's call.
//! Inside the user's own macros, which it cannot see into, two `macro_rules` say the same.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use crate::{
    endpoint::Form,
    runtime::{Runtime, ours, yielder},
};

/// The two macros, by their names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yield {
    One,
    All,
}

pub(crate) const YIELD: &str = "yield_";
pub(crate) const YIELD_ALL: &str = "yield_all";

impl Yield {
    pub(crate) fn named(name: &Ident) -> Option<Self> {
        match name.to_string().as_str() {
            YIELD => Some(Self::One),
            YIELD_ALL => Some(Self::All),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => YIELD,
            Self::All => YIELD_ALL,
        }
    }

    /// The block that hands over `operand`, a value or a stream in parentheses, for a call at `at`; of a value that may be
    /// of any type, it says that it is the item.
    pub(crate) fn write(
        self,
        operand: &Group,
        is_open: bool,
        form: Form,
        runtime: &Runtime,
        at: Span,
    ) -> TokenStream {
        let stream = yielder(at);
        let private = runtime.internals();
        let push = Ident::new(if is_open { "push_item" } else { "push" }, ours(at));
        let try_all = |exit: TokenStream| {
            quote_spanned! {ours(at)=> {
                if let ::core::result::Result::Err(error) = #stream.try_part #operand.push_all().await {
                    return ::core::result::Result::Err(#exit);
                }
            }}
        };
        match (self, form) {
            // Two statements: what the value borrowed is given back before the generator waits.
            (Self::One, _) => quote_spanned!(ours(at)=> {
                #stream.#push #operand;
                #stream.flushed().await;
            }),
            (Self::All, Form::Stream | Form::Response) => quote_spanned!(ours(at)=> {
                let ::core::result::Result::Ok(()) = #stream.part #operand.push_all().await;
            }),
            (Self::All, Form::TryStream) => try_all(quote_spanned!(ours(at)=> error)),
            (Self::All, Form::TryResponse) => {
                try_all(quote_spanned!(ours(at)=> #private::Exit::Stream(error)))
            }
        }
    }
}

/// The macros for the places that the reader does not see.
pub(crate) fn macros(form: Form, runtime: &Runtime) -> TokenStream {
    let define = |call: Yield| {
        // Found by the user's own call, so it has a name that anybody can say.
        let name = format_ident!("{}", call.name());
        let operand = Group::new(Delimiter::Parenthesis, quote!($($operand)*));
        let body = call.write(&operand, false, form, runtime, Span::call_site());
        quote! {
            #[allow(unused_macros)]
            macro_rules! #name { ($($operand:tt)*) => { #body } }
        }
    };
    let (one, all) = (define(Yield::One), define(Yield::All));
    quote!(#one #all)
}
