//! Parses event names in attributes.

use proc_macro2::{Ident, TokenStream};
use syn::LitStr;

/// The characters that `sse_runtime::EventName` rejects. The list includes Unicode line breaks,
/// because some clients split lines at these characters.
const LINE_BREAKS: [char; 10] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// Parses the value of a key that names an event.
pub(crate) fn event_name(key: &Ident, value: TokenStream) -> syn::Result<LitStr> {
    let Ok(name) = syn::parse2::<LitStr>(value.clone()) else {
        return Err(syn::Error::new_spanned(
            value,
            format_args!("expected an event name as a string, such as `{key} = \"ping\"`"),
        ));
    };
    let problem = match name.value() {
        text if text.is_empty() => "an event name cannot be empty",
        text if text.contains(LINE_BREAKS) => "an event name cannot contain a line break",
        _ => return Ok(name),
    };
    Err(syn::Error::new_spanned(name, problem))
}
