//! Emits warnings from a macro on stable Rust.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

/// A warning that underlines `span`. `allow(…)` with the warning's name silences the warning.
pub(crate) struct Warning {
    pub(crate) name: &'static str,
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Warning {
    /// Generates code that uses a deprecated constant. This is the only way for a macro to emit a
    /// warning with custom text on stable Rust.
    pub(crate) fn write(&self) -> TokenStream {
        let Self {
            name,
            span,
            message,
        } = self;
        let span = *span;
        let constant = Ident::new(&name.to_uppercase(), span);
        let (fact, help) = message.split_at(message.find('\n').unwrap_or(message.len()));
        let note = format!("{fact} (`allow({name})` silences this){help}");
        quote_spanned! {span=>
            const _: () = {
                #[deprecated(note = #note)]
                const #constant: () = ();
                #constant
            };
        }
    }
}
