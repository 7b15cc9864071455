//! The expansion as a person would read it: what is in `expanded/` is what users get.
//!
//! `UPDATE_EXPANDED=1 cargo test -p sse-macros` writes the files anew.

use std::{env, fs, path::Path};

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;

use super::endpoint;

/// Compares an expansion with its file.
#[track_caller]
fn check(name: &str, attribute: TokenStream, item: TokenStream) -> String {
    let file = syn::parse2(endpoint(attribute, item)).expect("an expansion is a list of items");
    let expanded = prettyplease::unparse(&file);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("expanded/{name}.rs"));
    if env::var_os("UPDATE_EXPANDED").is_some() {
        fs::write(&path, &expanded).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert_eq!(
        expanded, golden,
        "is this as it should be? then write it with UPDATE_EXPANDED=1"
    );
    expanded
}

/// The smallest endpoint, which has to fit on a screen.
#[test]
fn clock() {
    let expanded = check(
        "clock",
        quote!("/clock"),
        quote! {
            /// The time, once a second.
            async fn clock() -> impl Stream<Item = Time> {
                let mut every = tokio::time::interval(Duration::from_secs(1));
                loop {
                    every.tick().await;
                    yield_!(Time::now());
                }
            }
        },
    );
    assert!(expanded.lines().count() < 50);
}

/// Everything at once: both kinds of errors, arguments, keys, an attribute, a macro that nobody can see into.
#[test]
fn answer() {
    check(
        "answer",
        quote!(
            "/rooms/{room}/answer",
            method = POST,
            keep_alive = "5s",
            error_event = "failed"
        ),
        quote! {
            #[tracing::instrument(skip(model))]
            pub async fn answer(
                Path(room): Path<u64>,
                State(model): State<Model>,
                question: String,
            ) -> Result<impl Stream<Item = Result<Token, Interrupted>>, StatusCode> {
                let room = model.room(room).await?;
                if room.is_closed() {
                    return Err(StatusCode::GONE);
                }
                let mut tokens = first_ok(room.ask(question)).await?;
                yield_!(Token::first());
                loop {
                    tokio::select! {
                        token = tokens.next() => match token {
                            Some(token) => yield_!(token?),
                            None => return,
                        },
                        () = room.closed() => return Err(Interrupted),
                    }
                    yield_all!(room.others());
                }
            }
        },
    );
}

/// A renamed dependency is never called by its own name.
#[test]
fn renamed() {
    let expanded = endpoint(
        quote!("/ticks", method = POST, flush = "ready", crate = ::renamed),
        quote! {
            async fn ticks(Path(room): Path<u8>) -> Result<impl Stream<Item = Result<Tick, Oops>>, Refused> {
                let tick = wait().await?;
                yield_!(tick);
                yield_all!(more());
                return Err(Oops);
            }
        },
    );
    assert!(!names(expanded, "sse_runtime"));
}

/// So is one whose endpoint is wrong.
#[test]
fn renamed_and_wrong() {
    let expanded = endpoint(
        quote!("/ticks", crate = ::renamed),
        quote!(
            async fn ticks<T>() -> impl Stream<Item = T> {
                yield_!(1);
            }
        ),
    );
    assert!(!names(expanded, "sse_runtime"));
}

fn names(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => names(group.stream(), name),
        TokenTree::Ident(ident) => ident == name,
        _ => false,
    })
}
