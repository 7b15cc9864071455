//! Determines from tokens what a stream may contain besides its items. The description of the endpoint
//! mentions it.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use syn::Stmt;

use super::{tokens, yields::YIELD_ALL};

/// The things that a stream may contain besides its items.
#[derive(Clone, Copy, Default)]
pub(crate) struct Contents {
    /// Events of topics, which include `gap` events and errors of runs. If another function returns
    /// the subscription, it is recognized only if its items are yielded with `yield_all!`.
    pub(crate) topics: bool,
    /// `Event::done`.
    pub(crate) done: bool,
    /// `Event::text`.
    pub(crate) text: bool,
    /// Names that are set with `Event::event`.
    pub(crate) names: bool,
    /// Tasks, which may panic. They are recognized only if the function itself calls a method
    /// `spawn`, other than `Hub::spawn`.
    pub(crate) tasks: bool,
    /// Relayed events. They are recognized only if the function itself calls `relay`.
    pub(crate) relays: bool,
}

impl Contents {
    pub(super) fn of(statements: &[Stmt]) -> Self {
        let statements = quote::quote!(#(#statements)*);
        let calls = |name: &str| contains(&statements, &|tokens| is_call_on_event(tokens, name));
        let calls_method = |is: &dyn Fn(&Ident, &Group) -> bool| {
            contains(&statements, &|tokens| match tokens {
                [
                    TokenTree::Punct(dot),
                    TokenTree::Ident(method),
                    TokenTree::Group(arguments),
                    ..,
                ] => dot.as_char() == '.' && is(method, arguments),
                _ => false,
            })
        };
        let yields_all = [YIELD_ALL.to_owned()];
        Self {
            topics: tokens::find_call(statements.clone(), &yields_all).is_some()
                || calls_method(&subscribes),
            done: calls("done"),
            text: calls("text"),
            names: calls_method(&|method, _| method == "event"),
            tasks: calls_method(&|method, arguments| method == "spawn" && !has_several(arguments)),
            relays: contains(&statements, &is_call_of_relay),
        }
    }
}

impl Contents {
    /// Returns the names of the fields that are `true`.
    pub(crate) fn flags(self) -> impl Iterator<Item = Ident> {
        let Self {
            topics,
            done,
            text,
            names,
            tasks,
            relays,
        } = self;
        let flags = [
            (topics, "topics"),
            (done, "done"),
            (text, "text"),
            (names, "names"),
            (tasks, "tasks"),
            (relays, "relays"),
        ];
        let set = flags.into_iter().filter(|(is_set, _)| *is_set);
        set.map(|(_, name)| Ident::new(name, Span::call_site()))
    }
}

/// Returns whether the first tokens are `Event::name`.
fn is_call_on_event(tokens: &[TokenTree], name: &str) -> bool {
    matches!(
        tokens,
        [TokenTree::Ident(event), TokenTree::Punct(_), TokenTree::Punct(colon), TokenTree::Ident(function), ..]
            if event == "Event" && colon.as_char() == ':' && function == name
    )
}

/// Returns whether the first tokens are `relay(…)`.
fn is_call_of_relay(tokens: &[TokenTree]) -> bool {
    matches!(
        tokens,
        [TokenTree::Ident(function), TokenTree::Group(arguments), ..]
            if function == "relay" && arguments.delimiter() == Delimiter::Parenthesis
    )
}

/// Returns whether a method call looks like one of those that return a subscription.
fn subscribes(method: &Ident, arguments: &Group) -> bool {
    const METHODS: [&str; 5] = [
        "subscribe",
        "changes",
        "resume",
        "spawn_again",
        "spawn_or_resume",
    ];
    METHODS.iter().any(|name| method == name) || (method == "spawn" && has_several(arguments))
}

/// Returns whether the arguments of a call of `spawn` can be those of `Hub::spawn`, which takes a
/// name, a cursor and the run. Other methods with this name take one argument.
fn has_several(arguments: &Group) -> bool {
    let commas =
        |token: &TokenTree| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',');
    arguments.stream().into_iter().filter(commas).count() >= 2
}

/// Returns whether any tokens, at any depth, are followed by tokens that match.
fn contains(tokens: &TokenStream, matches: &impl Fn(&[TokenTree]) -> bool) -> bool {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    (0..tokens.len()).any(|start| {
        matches(&tokens[start..])
            || matches!(&tokens[start], TokenTree::Group(group) if contains(&group.stream(), matches))
    })
}
