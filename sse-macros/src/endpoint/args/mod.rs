//! Parses the attribute's arguments, which are the path and the keys.

mod values;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote;
use syn::{
    Ident, LitStr, Path, Token,
    ext::IdentExt as _,
    parse::{ParseStream, Parser as _},
};

use self::values::{End, Events, Flush, KeepAlive, MaxDuration, OnCut, Retry, Value};
pub(crate) use self::values::{EventName, Method, OnShutdown};
use super::{path, warning_names::WARNINGS};
use crate::support::{
    comma_list::split_at_commas,
    errors::{Errors, did_you_mean, one_of},
};

/// Declares the keys. Each row contains the name and type of a field of [`Args`], the name of the
/// key, and an example for error messages.
///
/// To add a key, add a row here, a type in `values.rs`, and a method on the runtime's `Endpoint`
/// that has the same name as the field.
macro_rules! keys {
    ($($field:ident: $ty:ty = $name:literal, $example:literal;)*) => {
        /// The keys and their examples, in the order in which error messages list them.
        const KEYS: [(&str, &str); [$($name),*].len()] = [$(($name, $example)),*];

        #[derive(Default)]
        pub(crate) struct Args {
            pub(crate) path: Option<LitStr>,
            $(pub(crate) $field: $ty,)*
        }

        impl Args {
            /// Parses the tokens after a key.
            fn key(
                &mut self,
                key: &Ident,
                input: ParseStream<'_>,
                errors: &mut Errors,
            ) -> syn::Result<()> {
                match key.to_string().as_str() {
                    $($name => self.$field.read(key, $example, input, errors),)*
                    unknown => {
                        // An unknown key can have any value, so skip the remaining tokens.
                        input.parse::<TokenStream>()?;
                        Err(syn::Error::new_spanned(key, unknown_key(unknown)))
                    }
                }
            }

            /// Returns the method calls, such as `.flush(…)`, that pass the keys to the runtime's
            /// `Endpoint`.
            pub(crate) fn calls(&self, private: &TokenStream) -> Vec<TokenStream> {
                let arguments = [$((stringify!($field), self.$field.argument(private))),*];
                let calls = arguments.into_iter().filter_map(|(field, argument)| {
                    let (method, argument) = (Ident::new(field, Span::call_site()), argument?);
                    Some(quote!(.#method(#argument)))
                });
                calls.collect()
            }
        }
    };
}

keys! {
    method: Key<Method> = "method", "method = POST";
    keep_alive: Key<KeepAlive> = "keep_alive", "keep_alive = \"15s\"";
    keep_alive_event: Key<EventName> = "keep_alive_event", "keep_alive_event = \"ping\"";
    retry: Key<Retry> = "retry", "retry = \"3s\"";
    flush: Key<Flush> = "flush", "flush = \"ready\"";
    max_duration: Key<MaxDuration> = "max_duration", "max_duration = \"1h\"";
    head_after: Key<MaxDuration> = "head_after", "head_after = \"10s\"";
    end: Key<End> = "end", "end = \"stop\"";
    error_event: Key<EventName> = "error_event", "error_event = \"error\"";
    allow: Allow = "allow", "allow(unread_capture)";
    runtime: Key<Path> = "crate", "crate = ::sse_runtime";
    on_shutdown: Key<OnShutdown> = "on_shutdown", "on_shutdown = \"finish\"";
    on_cut: Key<OnCut> = "on_cut", "on_cut = \"end\"";
    events: Key<Events> = "events", "events = \"own\"";
}

/// A field of [`Args`] that a key sets.
trait Field {
    /// Parses the tokens after the key.
    fn read(
        &mut self,
        key: &Ident,
        example: &str,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()>;

    /// Returns the argument for the runtime, or `None` if the key is missing or only affects the
    /// macro.
    fn argument(&self, private: &TokenStream) -> Option<TokenStream>;
}

/// A key's span and value, if the key is present.
pub(crate) struct Key<T>(Option<(Span, T)>);

impl<T> Default for Key<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Key<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, value)| value)
    }

    pub(crate) fn span(&self) -> Option<Span> {
        self.0.as_ref().map(|(span, _)| *span)
    }
}

impl<T: Value> Field for Key<T> {
    fn read(
        &mut self,
        key: &Ident,
        example: &str,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        let takes_a_value = || {
            let message = format_args!("`{key}` requires a value, such as `{example}`");
            Err(syn::Error::new_spanned(key, message))
        };
        if !input.peek(Token![=]) {
            input.parse::<TokenStream>()?;
            return takes_a_value();
        }
        input.parse::<Token![=]>()?;
        let value = value(input)?;
        if value.is_empty() {
            return takes_a_value();
        }
        if self.0.is_some() {
            errors.at(key, format_args!("duplicate key `{key}`"));
        }
        match T::parse(key, value) {
            Ok(value) => self.0 = Some((key.span(), value)),
            Err(error) => errors.push(error),
        }
        Ok(())
    }

    fn argument(&self, private: &TokenStream) -> Option<TokenStream> {
        self.get()?.argument(private)
    }
}

/// The names from every `allow(…)` key.
#[derive(Default)]
pub(crate) struct Allow(Vec<Ident>);

impl Allow {
    pub(crate) fn contains(&self, warning: &str) -> bool {
        self.0.iter().any(|name| name == warning)
    }
}

impl Field for Allow {
    fn read(
        &mut self,
        key: &Ident,
        example: &str,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        if !input.peek(syn::token::Paren) {
            input.parse::<TokenStream>()?;
            let message =
                format_args!("expected warning names in parentheses, such as `{example}`");
            return Err(syn::Error::new_spanned(key, message));
        }
        let content;
        syn::parenthesized!(content in input);
        for name in content.parse_terminated(Ident::parse_any, Token![,])? {
            if WARNINGS.contains(&name.to_string().as_str()) {
                self.0.push(name);
            } else {
                errors.at(
                    &name,
                    format_args!("unknown warning `{name}`; {}", one_of(WARNINGS)),
                );
            }
        }
        Ok(())
    }

    fn argument(&self, _: &TokenStream) -> Option<TokenStream> {
        None
    }
}

impl Args {
    pub(crate) fn parse(attribute: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let mut complained = false;
        for (at, part) in split_at_commas(attribute, errors).into_iter().enumerate() {
            let before = errors.is_empty();
            args.part(at == 0, part, errors);
            complained |= before && !errors.is_empty() && at == 0;
        }
        if args.path.is_none() && !complained {
            errors.at_span(
                Span::call_site(),
                "expected a path, as in `#[sse_endpoint(\"/ticks\")]`",
            );
        }
        if let (Some(KeepAlive::Off), Some(span)) =
            (args.keep_alive.get(), args.keep_alive_event.span())
        {
            errors.at_span(
                span,
                "`keep_alive_event` has no effect with `keep_alive = \"off\"`; remove one of them",
            );
        }
        args.check_own_events(errors);
        args
    }

    /// Reports keys that would add the framework's own events to a stream from which `events =
    /// "own"` excludes such events.
    fn check_own_events(&self, errors: &mut Errors) {
        let way_out = match (self.events.get(), self.method.get()) {
            (Some(Events::Own), _) => "remove one of them",
            (None, Some(method)) if !method.is_get() => {
                "`events = \"own\"` is the default for every method except `GET`; add `events = \"all\"` if clients expect this event"
            }
            _ => return,
        };
        if let (Some(End::Stop), Some(span)) = (self.end.get(), self.end.span()) {
            errors.at_span(
                span,
                format_args!(
                    "`end = \"stop\"` sends a `done` event, which `events = \"own\"` excludes\nhelp: {way_out}"
                ),
            );
        }
        if let Some(span) = self.keep_alive_event.span() {
            errors.at_span(
                span,
                format_args!(
                    "`keep_alive_event` sends keep-alive events, which `events = \"own\"` excludes\nhelp: {way_out}"
                ),
            );
        }
    }

    /// Parses one comma-separated part. If the part contains an error, the other parts are still
    /// checked.
    fn part(&mut self, first: bool, part: TokenStream, errors: &mut Errors) {
        let parse = |input: ParseStream<'_>| {
            if input.peek(syn::Lit) {
                self.path_literal(first, input, errors)?;
            } else if first && is_expression(&input.fork()) {
                let expression = input.parse::<TokenStream>()?;
                return Err(syn::Error::new_spanned(
                    expression,
                    "the path is checked at compile time, so it must be a string literal, as in \
                     `#[sse_endpoint(\"/ticks\")]`",
                ));
            } else {
                let key = input.call(Ident::parse_any).map_err(|error| {
                    syn::Error::new(error.span(), "expected a key, such as `retry = \"3s\"`")
                })?;
                self.key(&key, input, errors)?;
            }
            match input.cursor().token_tree() {
                Some((extra, _)) => {
                    // Consume the remaining tokens so that they are not reported again.
                    input.parse::<TokenStream>()?;
                    Err(syn::Error::new(extra.span(), "expected `,`"))
                }
                None => Ok(()),
            }
        };
        if let Err(error) = parse.parse2(part) {
            errors.push(error);
        }
    }

    fn path_literal(
        &mut self,
        first: bool,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        let literal: syn::Lit = input.parse()?;
        let syn::Lit::Str(path) = literal else {
            return Err(syn::Error::new_spanned(
                literal,
                "the path must be a string, as in `#[sse_endpoint(\"/ticks\")]`",
            ));
        };
        if self.path.is_some() {
            errors.at(&path, "duplicate path; an endpoint has only one");
            return Ok(());
        }
        if !first {
            errors.at(&path, "the path must come before the keys");
        }
        for problem in path::problems(&path.value()) {
            errors.at(&path, problem);
        }
        self.path = Some(path);
        Ok(())
    }
}

/// Returns `true` if the path is given as an expression, such as a constant, a macro call or a
/// function call.
fn is_expression(input: ParseStream<'_>) -> bool {
    let Ok(expr) = input.parse::<syn::Expr>() else {
        return false;
    };
    match &expr {
        // A single identifier that resembles a key is probably a key whose value is missing.
        syn::Expr::Path(path) => path.path.get_ident().is_none_or(|name| {
            let name = name.to_string();
            did_you_mean(&name, KEYS.map(|(key, _)| key)).is_none()
        }),
        // A single identifier followed by parentheses might be a key, as in `allow(…)`.
        syn::Expr::Call(call) => match &*call.func {
            syn::Expr::Path(path) => path.path.get_ident().is_none(),
            _ => true,
        },
        syn::Expr::Assign(_) => false,
        _ => true,
    }
}

fn unknown_key(name: &str) -> String {
    if ["path", "route", "uri", "url"].contains(&name) {
        return "the path comes first and has no key, as in `#[sse_endpoint(\"/ticks\")]`"
            .to_owned();
    }
    let known = KEYS.map(|(name, _)| name);
    let options = known.join(", ");
    match did_you_mean(name, known) {
        Some(meant) => {
            format!("unknown key `{name}`; did you mean `{meant}`? (available keys: {options})")
        }
        None => format!("unknown key `{name}` (available keys: {options})"),
    }
}

/// Reads a value's tokens. If the comma after the value is missing, the value ends before the next
/// `key =`.
fn value(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut value = TokenStream::new();
    while !input.is_empty() {
        let next_key = input.peek(Ident::peek_any) && input.peek2(Token![=]);
        if next_key && !value.is_empty() {
            break;
        }
        value.extend([input.parse::<TokenTree>()?]);
    }
    Ok(value)
}
