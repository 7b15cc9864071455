//! Parses the keys' values and generates the arguments that the expansion passes to the runtime.

use std::{fmt, time::Duration};

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{ToTokens as _, quote};
use syn::{LitStr, Path};

use crate::support::{errors::one_of, event_name::event_name, runtime_path::runtime_path};

/// The value of a key.
pub(super) trait Value: Sized {
    /// Parses the tokens after the `=`. There is at least one token.
    fn parse(key: &Ident, value: TokenStream) -> syn::Result<Self>;

    /// Returns the argument for the corresponding method on the runtime's `Endpoint`, or `None` if
    /// the key has no such method.
    fn argument(&self, private: &TokenStream) -> Option<TokenStream>;
}

/// `POST`
pub(crate) struct Method(Ident);

impl Method {
    pub(crate) fn is_get(&self) -> bool {
        self.0 == "GET"
    }
}

impl Value for Method {
    fn parse(_: &Ident, value: TokenStream) -> syn::Result<Self> {
        const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        match syn::parse2::<Ident>(value.clone()) {
            Ok(method) if METHODS.contains(&method.to_string().as_str()) => Ok(Self(method)),
            _ => {
                let given = value.to_string();
                let given = given.trim_matches('"').to_uppercase();
                let message = match METHODS.iter().find(|method| **method == given) {
                    Some(method) => format!(
                        "write the method in uppercase and without quotes, as in `method = {method}`"
                    ),
                    None if given == "QUERY" => {
                        "axum 0.8 cannot route `QUERY` requests; use `method = POST`".to_owned()
                    }
                    None => one_of(METHODS),
                };
                Err(syn::Error::new_spanned(value, message))
            }
        }
    }

    fn argument(&self, private: &TokenStream) -> Option<TokenStream> {
        let method = &self.0;
        Some(quote!(#private::Method::#method))
    }
}

/// `"15s"` or `"off"`
pub(crate) enum KeepAlive {
    After(Duration),
    Off,
}

impl Value for KeepAlive {
    fn parse(key: &Ident, value: TokenStream) -> syn::Result<Self> {
        match syn::parse2::<LitStr>(value.clone()) {
            Ok(off) if off.value() == "off" => Ok(Self::Off),
            _ => duration(key, &value, Zero::Refused, ", or `\"off\"`").map(Self::After),
        }
    }

    fn argument(&self, _: &TokenStream) -> Option<TokenStream> {
        Some(match self {
            Self::After(after) => {
                let after = written(*after);
                quote!(::core::option::Option::Some(#after))
            }
            Self::Off => quote!(::core::option::Option::None),
        })
    }
}

/// `"3s"`; may be zero
pub(crate) struct Retry(Duration);

impl Value for Retry {
    fn parse(key: &Ident, value: TokenStream) -> syn::Result<Self> {
        duration(key, &value, Zero::Allowed, "").map(Self)
    }

    fn argument(&self, _: &TokenStream) -> Option<TokenStream> {
        Some(written(self.0))
    }
}

/// `"1h"`
pub(crate) struct MaxDuration(Duration);

impl Value for MaxDuration {
    fn parse(key: &Ident, value: TokenStream) -> syn::Result<Self> {
        duration(key, &value, Zero::Refused, "").map(Self)
    }

    fn argument(&self, _: &TokenStream) -> Option<TokenStream> {
        Some(written(self.0))
    }
}

/// `"ping"`
pub(crate) struct EventName(pub(crate) LitStr);

impl Value for EventName {
    fn parse(key: &Ident, value: TokenStream) -> syn::Result<Self> {
        event_name(key, value).map(Self)
    }

    fn argument(&self, _: &TokenStream) -> Option<TokenStream> {
        Some(self.0.to_token_stream())
    }
}

/// The path to the runtime crate. Only the macro uses it.
impl Value for Path {
    fn parse(_: &Ident, value: TokenStream) -> syn::Result<Self> {
        runtime_path(value)
    }

    fn argument(&self, _: &TokenStream) -> Option<TokenStream> {
        None
    }
}

/// Declares keys that accept a fixed set of strings. For each key, generates an enum whose variants
/// have the same names as the variants of an enum in the runtime.
macro_rules! choices {
    ($($name:ident => $runtime:ident { $($text:literal => $variant:ident),* })*) => {$(
        #[derive(Clone, Copy)]
        pub(crate) enum $name { $($variant),* }

        impl Value for $name {
            fn parse(_: &Ident, value: TokenStream) -> syn::Result<Self> {
                choice(value, [$(($text, Self::$variant)),*])
            }

            fn argument(&self, private: &TokenStream) -> Option<TokenStream> {
                Some(match self {
                    $(Self::$variant => quote!(#private::$runtime::$variant)),*
                })
            }
        }
    )*};
}

choices! {
    Flush => Flush { "each" => Each, "ready" => Ready }
    End => EndKey { "reconnect" => Reconnect, "stop" => Stop }
    OnShutdown => OnShutdown { "close" => Close, "finish" => Finish }
    OnCut => OnCut { "abort" => Abort, "end" => End }
    Events => EventsKey { "all" => All, "own" => Own }
}

fn choice<T: Copy, const N: usize>(value: TokenStream, choices: [(&str, T); N]) -> syn::Result<T> {
    let given = syn::parse2::<LitStr>(value.clone()).map(|given| given.value());
    match choices
        .iter()
        .find(|(name, _)| given.as_deref().ok() == Some(name))
    {
        Some((_, choice)) => Ok(*choice),
        None => {
            let names = choices.map(|(name, _)| format!("\"{name}\""));
            Err(syn::Error::new_spanned(value, one_of(&names)))
        }
    }
}

/// The longest accepted duration. A longer duration probably has the wrong unit.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Whether a duration may be zero.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zero {
    Allowed,
    Refused,
}

/// Parses a duration. `or` is appended to error messages to mention another accepted value.
fn duration(key: &Ident, value: &TokenStream, zero: Zero, or: &str) -> syn::Result<Duration> {
    let error = |message: fmt::Arguments<'_>| Err(syn::Error::new_spanned(value, message));
    let Ok(text) = syn::parse2::<LitStr>(value.clone()) else {
        return error(format_args!("expected a duration such as `\"15s\"`{or}"));
    };
    match humantime::parse_duration(&text.value()) {
        Ok(duration) if duration.is_zero() && zero == Zero::Refused => {
            error(format_args!("`{key}` must be greater than zero{or}"))
        }
        Ok(duration) if duration > LONGEST => {
            error(format_args!("`{key}` must be at most `\"30d\"`"))
        }
        Ok(duration) => Ok(duration),
        Err(problem) => error(format_args!(
            "expected a duration such as `\"15s\"`{or}: {problem}"
        )),
    }
}

/// Generates the expression for a duration.
fn written(duration: Duration) -> TokenStream {
    let seconds = Literal::u64_unsuffixed(duration.as_secs());
    let nanos = Literal::u32_unsuffixed(duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}
