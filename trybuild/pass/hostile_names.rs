//! User-defined names that must not clash with the expansion.
#![deny(warnings)]
#![allow(non_camel_case_types, non_snake_case)]

mod core {}
mod std {}
mod alloc {}
mod tokio {}
mod axum {}

type Result = u8;
struct Option;
enum Some {}
enum None {}
struct Ok;
struct Err;
struct Item;
struct Generator;
struct Yielder;
trait ItemOf {}
trait Future {}
trait From {}
trait Into {}

fn guard(_: Result) {}
fn push() {}
fn declared() {}
fn route() {}

#[allow(unused_macros)]
macro_rules! __push {
    () => {};
}

#[allow(unused_macros)]
macro_rules! compile_error {
    () => {};
}

use ::sse_runtime::{Event, Stream, sse_endpoint};

#[sse_endpoint(
    "/names",
    retry = "3s",
    keep_alive = "off",
    flush = "ready",
    end = "stop"
)]
async fn names(item: ::axum::http::Method) -> impl Stream<Item = u32> {
    __push!();
    let Stream = 1;
    let stream = 2;
    let error = 3;
    let value = 4;
    let next = 5;
    let __argument0 = item;
    guard(1);
    push();
    declared();
    route();
    yield_!(Stream + stream + error + value + next);
    yield_all!(::tokio_stream::iter([stream, Stream]));
    yield_!(Event::json(__argument0.as_str().len() as u32));
    #[allow(unused)]
    fn names() {}
    async fn wait() {}
    wait().await;
    let error = ::tokio::time::sleep(::std::time::Duration::ZERO);
    error.await;
}

/// All forms of `yield_!`, `?` and `return`, with these names in scope.
#[sse_endpoint("/both")]
async fn both() -> ::std::result::Result<impl Stream<Item = ::std::result::Result<u32, u32>>, ()> {
    fn fails() -> ::std::result::Result<u32, ()> {
        ::std::result::Result::Ok(1)
    }
    let one = fails()?;
    yield_!(one);
    yield_all!(::tokio_stream::iter([
        ::std::result::Result::Ok::<u32, u32>(1)
    ]));
    if one == 2 {
        return;
    }
    return ::std::result::Result::Err(1);
}

/// A local variable with the same name as an endpoint, and other names from the module.
fn main() {
    let names = names();
    let _ = (names, both());
    let _ = (Option, Ok, Err, Item, Generator, Yielder);
    let _: [Some; 0] = [];
    let _: [None; 0] = [];
}
