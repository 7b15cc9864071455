//! What the attribute's parentheses say.

use std::{fmt, time::Duration};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Ident, LitStr, Path, Token,
    ext::IdentExt as _,
    parse::{ParseStream, Parser as _},
};

use super::{lints::names::WARNINGS, path};
use crate::support::{
    comma_list::split_at_commas,
    errors::{Errors, did_you_mean, one_of},
    event_name::event_name,
    runtime_path::runtime_path,
};

/// The keys, each with a value that a message can show.
const KEYS: [(&str, &str); 13] = [
    ("method", "method = POST"),
    ("keep_alive", "keep_alive = \"15s\""),
    ("keep_alive_event", "keep_alive_event = \"ping\""),
    ("retry", "retry = \"3s\""),
    ("flush", "flush = \"ready\""),
    ("max_duration", "max_duration = \"1h\""),
    ("end", "end = \"stop\""),
    ("error_event", "error_event = \"error\""),
    ("allow", "allow(unread_capture)"),
    ("crate", "crate = ::sse_runtime"),
    ("on_shutdown", "on_shutdown = \"finish\""),
    ("on_cut", "on_cut = \"end\""),
    ("events", "events = \"own\""),
];

/// Timers reach far, but a longer time is a slip of the unit.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[derive(Default)]
pub(crate) struct Args {
    pub(crate) path: Option<LitStr>,
    pub(crate) method: Key<Ident>,
    pub(crate) keep_alive: Key<KeepAlive>,
    pub(crate) keep_alive_event: Key<LitStr>,
    pub(crate) retry: Key<Duration>,
    pub(crate) flush: Key<Flush>,
    pub(crate) max_duration: Key<Duration>,
    pub(crate) end: Key<End>,
    pub(crate) error_event: Key<LitStr>,
    pub(crate) on_shutdown: Key<OnShutdown>,
    pub(crate) on_cut: Key<OnCut>,
    pub(crate) events: Key<Events>,
    pub(crate) allow: Vec<Ident>,
    pub(crate) runtime: Key<Path>,
}

pub(crate) enum KeepAlive {
    After(Duration),
    Off,
}

#[derive(Clone, Copy)]
pub(crate) enum Flush {
    Each,
    Ready,
}

#[derive(Clone, Copy)]
pub(crate) enum End {
    Reconnect,
    Stop,
}

#[derive(Clone, Copy)]
pub(crate) enum OnShutdown {
    Close,
    Finish,
}

#[derive(Clone, Copy)]
pub(crate) enum OnCut {
    Abort,
    End,
}

#[derive(Clone, Copy)]
pub(crate) enum Events {
    All,
    Own,
}

/// A key that was given at most once, with its span beside its value.
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

    fn set(&mut self, key: &Ident, value: syn::Result<T>, errors: &mut Errors) {
        if self.0.is_some() {
            errors.at(key, format_args!("`{key}` is given twice"));
        }
        match value {
            Ok(value) => self.0 = Some((key.span(), value)),
            Err(error) => errors.push(error),
        }
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
                "give the route: `#[sse_endpoint(\"/ticks\")]`",
            );
        }
        if let (Some(KeepAlive::Off), Some(span)) =
            (args.keep_alive.get(), args.keep_alive_event.span())
        {
            errors.at_span(
                span,
                "`keep_alive_event` names an event that `keep_alive = \"off\"` never sends; leave one out",
            );
        }
        args.check_own_events(errors);
        args
    }

    /// `events = "own"` excludes the keys that send events which the function does not yield.
    fn check_own_events(&self, errors: &mut Errors) {
        let way_out = match (self.events.get(), self.method.get()) {
            (Some(Events::Own), _) => "remove one of the two",
            (None, Some(method)) if method != "GET" => {
                "`events = \"own\"` is the default for methods other than `GET`; add `events = \"all\"` if its clients expect that event"
            }
            _ => return,
        };
        if let (Some(End::Stop), Some(span)) = (self.end.get(), self.end.span()) {
            errors.at_span(
                span,
                format_args!(
                    "`end = \"stop\"` sends an event `done`, which `events = \"own\"` excludes; {way_out}"
                ),
            );
        }
        if let Some(span) = self.keep_alive_event.span() {
            errors.at_span(
                span,
                format_args!(
                    "`keep_alive_event` sends events that the function does not yield, which `events = \"own\"` excludes; {way_out}"
                ),
            );
        }
    }

    /// Parses what stands between two commas; an error in one part does not hide those in the others.
    fn part(&mut self, first: bool, part: TokenStream, errors: &mut Errors) {
        let parse = |input: ParseStream<'_>| {
            if input.peek(syn::Lit) {
                self.path_literal(first, input, errors)?;
            } else if first && is_expression(&input.fork()) {
                let expression = input.parse::<TokenStream>()?;
                return Err(syn::Error::new_spanned(
                    expression,
                    "the route is a string literal, because it is checked here; write it out: \
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
                    // What is left is reported here, and only here.
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
                "the route is a string: `#[sse_endpoint(\"/ticks\")]`",
            ));
        };
        if self.path.is_some() {
            errors.at(&path, "the route is given twice");
            return Ok(());
        }
        if !first {
            errors.at(&path, "the route comes first, before the keys");
        }
        for problem in path::problems(&path.value()) {
            errors.at(&path, problem);
        }
        self.path = Some(path);
        Ok(())
    }

    fn key(&mut self, key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        let name = key.to_string();
        let Some((_, example)) = KEYS.iter().find(|(known, _)| *known == name) else {
            // Its value may be anything.
            input.parse::<TokenStream>()?;
            return Err(syn::Error::new_spanned(key, unknown_key(&name)));
        };
        if name == "allow" {
            return self.allow(key, input, errors);
        }
        if !input.peek(Token![=]) {
            input.parse::<TokenStream>()?;
            return Err(syn::Error::new_spanned(
                key,
                format_args!("`{name}` takes a value: `{example}`"),
            ));
        }
        input.parse::<Token![=]>()?;
        let value: TokenStream = value(input)?;
        if value.is_empty() {
            return Err(syn::Error::new_spanned(
                key,
                format_args!("`{name}` takes a value: `{example}`"),
            ));
        }
        match name.as_str() {
            "method" => self.method.set(key, method(value), errors),
            "keep_alive" => self.keep_alive.set(key, keep_alive(key, &value), errors),
            "keep_alive_event" => self
                .keep_alive_event
                .set(key, event_name(key, value), errors),
            "retry" => self.retry.set(key, duration(key, &value, true), errors),
            "flush" => {
                let choices = [("each", Flush::Each), ("ready", Flush::Ready)];
                self.flush.set(key, choice(value, choices), errors);
            }
            "max_duration" => self
                .max_duration
                .set(key, duration(key, &value, false), errors),
            "end" => {
                let choices = [("reconnect", End::Reconnect), ("stop", End::Stop)];
                self.end.set(key, choice(value, choices), errors);
            }
            "on_shutdown" => {
                let choices = [("close", OnShutdown::Close), ("finish", OnShutdown::Finish)];
                self.on_shutdown.set(key, choice(value, choices), errors);
            }
            "on_cut" => {
                let choices = [("abort", OnCut::Abort), ("end", OnCut::End)];
                self.on_cut.set(key, choice(value, choices), errors);
            }
            "events" => {
                let choices = [("all", Events::All), ("own", Events::Own)];
                self.events.set(key, choice(value, choices), errors);
            }
            "error_event" => self.error_event.set(key, event_name(key, value), errors),
            _ => self.runtime.set(key, runtime_path(value), errors),
        }
        Ok(())
    }

    fn allow(
        &mut self,
        key: &Ident,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        if !input.peek(syn::token::Paren) {
            input.parse::<TokenStream>()?;
            return Err(syn::Error::new_spanned(
                key,
                "name the warnings in parentheses: `allow(unread_capture)`",
            ));
        }
        let content;
        syn::parenthesized!(content in input);
        for name in content.parse_terminated(Ident::parse_any, Token![,])? {
            if WARNINGS.contains(&name.to_string().as_str()) {
                self.allow.push(name);
            } else {
                errors.at(
                    &name,
                    format_args!("there is no warning `{name}`; {}", one_of(WARNINGS)),
                );
            }
        }
        Ok(())
    }
}

/// Whether something stands for the route that is not a literal: a constant, a path, a macro, a call.
fn is_expression(input: ParseStream<'_>) -> bool {
    let Ok(expr) = input.parse::<syn::Expr>() else {
        return false;
    };
    match &expr {
        // A word alone may be a key without its value.
        syn::Expr::Path(path) => path.path.get_ident().is_none_or(|name| {
            let name = name.to_string();
            did_you_mean(&name, KEYS.map(|(key, _)| key)).is_none()
        }),
        // So may a word with parentheses.
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
        return "the route comes first, without a key: `#[sse_endpoint(\"/ticks\")]`".to_owned();
    }
    let known = KEYS.map(|(name, _)| name);
    let options = known.join(", ");
    match did_you_mean(name, known) {
        Some(meant) => format!("unknown key `{name}`; did you mean `{meant}`? (keys: {options})"),
        None => format!("unknown key `{name}` (keys: {options})"),
    }
}

/// The tokens of a value: all up to the next `key =`, where a comma was forgotten.
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

fn method(value: TokenStream) -> syn::Result<Ident> {
    const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    match syn::parse2::<Ident>(value.clone()) {
        Ok(method) if METHODS.contains(&method.to_string().as_str()) => Ok(method),
        _ => {
            let given = value.to_string();
            let given = given.trim_matches('"').to_uppercase();
            let message = match METHODS.iter().find(|method| **method == given) {
                Some(method) => format!("a method is written `method = {method}`"),
                None => one_of(METHODS),
            };
            Err(syn::Error::new_spanned(value, message))
        }
    }
}

fn keep_alive(key: &Ident, value: &TokenStream) -> syn::Result<KeepAlive> {
    match syn::parse2::<LitStr>(value.clone()) {
        Ok(off) if off.value() == "off" => Ok(KeepAlive::Off),
        _ => duration(key, value, false).map(KeepAlive::After),
    }
}

fn duration(key: &Ident, value: &TokenStream, zero: bool) -> syn::Result<Duration> {
    let error = |message: fmt::Arguments<'_>| Err(syn::Error::new_spanned(value, message));
    let or_off = if key == "keep_alive" {
        ", or `\"off\"`"
    } else {
        ""
    };
    let Ok(text) = syn::parse2::<LitStr>(value.clone()) else {
        return error(format_args!(
            "expected a duration such as `\"15s\"`{or_off}"
        ));
    };
    match humantime::parse_duration(&text.value()) {
        Ok(duration) if duration.is_zero() && !zero => {
            error(format_args!("`{key}` must be longer than zero{or_off}"))
        }
        Ok(duration) if duration > LONGEST => error(format_args!("`{key}` is at most `\"30d\"`")),
        Ok(duration) => Ok(duration),
        Err(problem) => error(format_args!(
            "expected a duration such as `\"15s\"`{or_off}: {problem}"
        )),
    }
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
