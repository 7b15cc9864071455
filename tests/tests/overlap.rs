//! If two endpoints share a method and path, the router panics with a message that names both.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use axum::{Router, routing::get};
use sse_runtime::{Stream, sse_endpoint};
use support::SseRouterExt as _;

#[sse_endpoint("/clock")]
async fn clock() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/clock")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/clock", method = POST)]
async fn set_clock() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/page")]
async fn page() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/{room}", allow(unread_capture))]
async fn room() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/{seat}", allow(unread_capture))]
async fn seat() -> impl Stream<Item = u32> {
    yield_!(1);
}

thread_local! {
    /// The source line of the last panic.
    static LINE: Cell<u32> = const { Cell::new(0) };
}

/// Installs a panic hook that records the line of each panic and then calls the previous hook.
fn record_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            LINE.set(panic.location().map_or(0, panic::Location::line));
            before(panic);
        }));
    });
}

/// Returns the message and the line of the panic in `mount`.
fn panic_of(mount: impl FnOnce() -> Router) -> (String, u32) {
    record_lines();
    let panic = panic::catch_unwind(AssertUnwindSafe(mount)).expect_err("a conflict");
    let message = panic.downcast::<String>().expect("a formatted message");
    (*message, LINE.get())
}

#[test]
fn conflict_names_both_endpoints_with_their_lines() {
    let first = line!() + 1;
    let router = Router::new().sse(clock);
    let second = line!() + 1;
    let (message, line) = panic_of(|| router.sse(ticks));

    let there = message.split(['(', ')']).nth(1).unwrap();
    assert!(there.contains(&format!("overlap.rs:{first}:")), "{there}");
    assert_eq!(
        message.replace(there, "there"),
        "`GET /clock` is already served by the `clock` endpoint (there), so `ticks` cannot be mounted; change the \
         path or method of one of them"
    );
    assert_eq!(line, second);
}

#[test]
fn endpoint_mounted_twice_is_named_once() {
    let router = Router::new().sse(set_clock);
    let (message, _) =
        panic_of(|| router.sse(set_clock().layer(tower_http::trace::TraceLayer::new_for_http())));
    assert!(
        message.starts_with("`POST /clock` is already served by the `set_clock` endpoint ("),
        "{message}"
    );
    assert!(
        message.ends_with("; mount it only once, or change the path or method of one of them"),
        "{message}"
    );
}

#[test]
fn conflict_with_a_plain_handler_names_the_endpoint() {
    for _ in 0..2 {
        let router = Router::new().route("/page", get(async || "a page"));
        let second = line!() + 1;
        let (message, line) = panic_of(|| router.sse(page));
        assert_eq!(
            message,
            "`GET /page` is already served by another route, so the `page` endpoint cannot be mounted; change the \
             path or method of one of them"
        );
        assert_eq!(line, second);
    }
}

#[test]
fn other_panics_of_axum_are_unchanged() {
    let router = Router::new().sse(room);
    let (message, _) = panic_of(|| router.sse(seat));
    assert!(
        message.starts_with("Invalid route \"/{seat}\""),
        "{message}"
    );
}

#[sse_endpoint("/lights")]
async fn lights() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/lights", method = POST)]
async fn switch() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[test]
fn methods_and_routers_do_not_conflict() {
    let _: Router = Router::new().sse(lights).sse(switch);
    let _: Router = Router::new().sse(lights).merge(Router::new().sse(switch));
}
