//! Compares expansions with the golden files in `expanded/`, which contain the formatted code.
//!
//! `UPDATE_EXPANDED=1 cargo test -p sse-macros` updates the files.

use std::{env, fs, path::Path};

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;

use super::{
    derive::{sse_error, sse_event},
    endpoint::endpoint,
};

/// Compares the expansion of an endpoint with its golden file.
#[track_caller]
fn check(name: &str, attribute: TokenStream, item: TokenStream) -> String {
    compare(name, endpoint(attribute, item))
}

/// Compares an expansion with its golden file.
#[track_caller]
fn compare(name: &str, expanded: TokenStream) -> String {
    let file = syn::parse2(expanded).expect("the expansion should be a list of items");
    let expanded = prettyplease::unparse(&file);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("expanded/{name}.rs"));
    if env::var_os("UPDATE_EXPANDED").is_some() {
        fs::write(&path, &expanded).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert_eq!(
        expanded, golden,
        "the expansion has changed; if this is intentional, run the test again with UPDATE_EXPANDED=1"
    );
    expanded
}

/// The smallest endpoint. Its expansion should fit on one screen.
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
    assert!(expanded.lines().count() < 35);
}

/// An endpoint that uses every key.
#[test]
fn keys() {
    check(
        "keys",
        quote!(
            "/keys",
            method = PUT,
            keep_alive = "5s",
            keep_alive_event = "ping",
            retry = "3s",
            flush = "ready",
            max_duration = "1h",
            end = "stop",
            error_event = "failed",
            crate = ::events
        ),
        quote! {
            pub(crate) async fn keys() -> impl Stream<Item = Key> {
                yield_all!(tokio_stream::iter(Key::ALL));
            }
        },
    );
}

/// Only the stream can fail, so `?` and `return` stay unchanged.
#[test]
fn lines() {
    check(
        "lines",
        quote!("/lines/{file}"),
        quote! {
            async fn lines(Path(file): Path<String>) -> impl Stream<Item = Result<Line, ReadError>> {
                let mut lines = open(&file).await?.lines();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        return;
                    }
                    if line.starts_with('!') {
                        return Err(ReadError::Refused(line));
                    }
                    yield_!(Event::json(Line(line)).event("line"));
                }
            }
        },
    );
}

/// Only the response can fail. The response begins before the first statement that yields.
#[test]
fn order_steps() {
    check(
        "order_steps",
        quote!("/orders/{id}/steps"),
        quote! {
            async fn order_steps(
                State(orders): State<Orders>,
                Path(id): Path<u64>,
            ) -> Result<impl Stream<Item = Step>, StatusCode> {
                let order = orders.find(id).await.ok_or(StatusCode::NOT_FOUND)?;
                while let Some(step) = order.next_step().await {
                    yield_!(step);
                }
            }
        },
    );
}

/// An endpoint that uses a foreign macro and defines its own macro.
#[test]
fn room() {
    check(
        "room",
        quote!("/rooms/{room}"),
        quote! {
            async fn room(Path(room): Path<u64>, mut rooms: Rooms) -> impl Stream<Item = Said> {
                macro_rules! say {
                    ($text:expr) => { yield_!(Said::by_the_room($text)) };
                }
                say!("hello");
                loop {
                    tokio::select! {
                        said = rooms.next(room) => match said {
                            Some(said) => yield_!(said),
                            None => return,
                        },
                        () = tokio::time::sleep(QUIET) => say!("anybody there?"),
                    }
                }
            }
        },
    );
}

/// An enum whose variants are events.
#[test]
fn chat_event() {
    let item = syn::parse_quote! {
        #[serde(rename_all = "camelCase")]
        #[sse(rename_all = "kebab-case")]
        enum ChatEvent<T> {
            Token { #[sse(id)] seq: u64, text: String },
            #[sse(event = "call")]
            ToolCall(T),
            #[sse(text)]
            Html(String),
            #[sse(message)]
            Plain(Note),
            Finished,
        }
    };
    compare("chat_event", sse_event::derive(item));
}

/// An error that can become either a status or an event.
#[test]
fn ask_error() {
    let item = syn::parse_quote! {
        enum AskError {
            #[sse(status = 404)]
            NoRoom { room: u64 },
            #[sse(status = 429, title = "Slow down")]
            Busy { #[sse(retry_after)] after: Duration },
            Database(#[from] sqlx::Error),
        }
    };
    compare("ask_error", sse_error::derive(item));
}

/// An endpoint with both kinds of errors, arguments, keys, an attribute and a foreign macro.
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

/// For every prefix of a body, the expansion contains the prefix's identifiers, because editors
/// look them up for completion. The expansion also contains the function, because the rest of the
/// file may refer to it.
#[test]
fn prefixes_keep_their_identifiers() {
    let body = quote! {
        let room = find(room).await?;
        let mut ticks = room.ticks(Limit { most: 10 });
        loop {
            tokio::select! {
                tick = ticks.next() => yield_!(tick.price + tick.spread),
                () = room.closed() => return,
            }
            if let Some(last) = room.last().await {
                yield_!(Event::json(&last).id(last.seq));
            }
        }
    };
    let prefixes = prefixes_of(body);
    assert!(prefixes.len() > 90);
    for prefix in prefixes {
        let attribute = quote!("/ticks");
        let item = quote! {
            async fn ticks(Path(room): Path<u64>) -> Result<impl Stream<Item = Tick>, StatusCode> { #prefix }
        };
        let expanded = endpoint(attribute, item);
        let typed = idents(prefix.clone());
        let mut found = idents(expanded.clone()).into_iter();
        for ident in typed.iter().filter(|ident| *ident != "yield_") {
            assert!(
                found.any(|found| found == *ident),
                "`{ident}` from `{prefix}` is missing from `{expanded}`"
            );
        }
        let header = expanded.to_string();
        assert!(
            header.contains("fn ticks < > () -> :: sse_runtime :: SseRoute"),
            "{header}"
        );
    }
}

/// Returns every prefix of the tokens. Closes the delimiters that are still open, as an editor does
/// when it expands the macro.
fn prefixes_of(tokens: TokenStream) -> Vec<TokenStream> {
    let mut prefixes = vec![TokenStream::new()];
    let mut before = TokenStream::new();
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            prefixes.extend(prefixes_of(group.stream()).into_iter().map(|inside| {
                let mut prefix = before.clone();
                let open = proc_macro2::Group::new(group.delimiter(), inside);
                prefix.extend([TokenTree::from(open)]);
                prefix
            }));
        } else {
            let mut prefix = before.clone();
            prefix.extend([token.clone()]);
            prefixes.push(prefix);
        }
        before.extend([token]);
    }
    prefixes
}

fn idents(tokens: TokenStream) -> Vec<String> {
    let idents = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => idents(group.stream()),
        TokenTree::Ident(ident) => vec![ident.to_string()],
        _ => Vec::new(),
    });
    idents.collect()
}

/// `yield_!` and `yield_all!` are defined only if they might be needed. They are needed if the
/// attribute might not have rewritten every call. They are also needed if a name is incomplete, so
/// that an editor can complete the name and the compiler can explain the mistake.
#[test]
fn yield_macros_exist_if_a_call_may_need_them() {
    let has_macros = |body: TokenStream| {
        let expanded = endpoint(
            quote!("/ticks"),
            quote!(async fn ticks() -> impl Stream<Item = u8> { #body }),
        );
        names(expanded, "macro_rules")
    };
    for body in [
        quote!(emit!(1);),
        quote!(my::emit! { 1 }),
        quote!(macro_rules! emit { () => { yield_!(1) } } emit!();),
        quote!(tokio::select! { a = b() => emit!(a) }),
        quote!(yield_!(1); yie),
        quote!(yield_!(1); yield_(2);),
        quote!(yield_!(1); yeild_!(2);),
        quote!(yield_!(1); println!("{:?}", || yield_!(2));),
        quote!(yield_!(1); let a = ),
    ] {
        assert!(has_macros(body.clone()), "{body}");
    }
    for body in [
        quote!(yield_!(1); yield_all!(a());),
        quote!(tokio::select! { a = b() => yield_!(a), () = c() => return }),
        quote!(yield_!(1); tracing::info!(?a, "b {}", c); assert!(d != e);),
        quote!(yield_!(1); if !(a && !b) {}),
    ] {
        assert!(!has_macros(body.clone()), "{body}");
    }
}

/// The expansion never uses the original name of a renamed `sse-runtime` dependency.
#[test]
fn renamed_runtime_is_used_everywhere() {
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

/// The expansion does not use the original name of a renamed `sse-runtime` dependency after an
/// error either.
#[test]
fn renamed_runtime_is_used_after_an_error() {
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
