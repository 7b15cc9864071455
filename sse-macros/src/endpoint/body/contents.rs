//! Determines from tokens what a stream may contain besides its items. The description of the endpoint
//! mentions it.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::{Expr, Stmt, Token, parse::Parser as _, punctuated::Punctuated};

use super::{tokens, yields::YIELD_ALL};

/// Returns the things that a stream may contain besides its items, as names of variants of the
/// runtime's `Content`.
pub(super) fn contents(statements: &[Stmt]) -> Vec<&'static str> {
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
    let contents = [
        // If another function returns the subscription, it is recognized only if its items are
        // yielded with `yield_all!`.
        (
            "Topics",
            tokens::find_call(statements.clone(), &yields_all).is_some()
                || calls_method(&subscribes),
        ),
        ("Done", calls("done")),
        ("Text", calls("text")),
        ("Names", calls_method(&|method, _| method == "event")),
        // Recognized only if the function itself calls a `spawn` method other than `Hub::spawn`.
        (
            "Tasks",
            calls_method(&|method, arguments| method == "spawn" && !starts_run(arguments)),
        ),
        // Recognized only if the function itself calls `relay`.
        ("Relays", contains(&statements, &is_call_of_relay)),
    ];
    let found = contents.into_iter().filter(|(_, is_found)| *is_found);
    found.map(|(name, _)| name).collect()
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
    METHODS.iter().any(|name| method == name) || (method == "spawn" && starts_run(arguments))
}

/// Returns whether the arguments of a call of `spawn` can be those of `Hub::spawn`, which takes a
/// name, a cursor and the run. Other methods with this name take one argument.
fn starts_run(arguments: &Group) -> bool {
    let arguments = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(arguments.stream());
    arguments.is_ok_and(|arguments| arguments.len() == 3)
}

/// Returns whether any tokens, at any depth, are followed by tokens that match.
fn contains(tokens: &TokenStream, matches: &impl Fn(&[TokenTree]) -> bool) -> bool {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    (0..tokens.len()).any(|start| {
        matches(&tokens[start..])
            || matches!(&tokens[start], TokenTree::Group(group) if contains(&group.stream(), matches))
    })
}
