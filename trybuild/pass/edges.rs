//! Code that the macro could misinterpret, because the macro sees tokens and paths but no types.
#![deny(warnings)]

use axum::{Router, http::StatusCode};
use serde::Serialize;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

async fn wait() -> Result<u32, String> {
    Ok(1)
}

fn double(value: u32) -> u32 {
    value * 2
}

#[sse_endpoint("/block-before-return")]
async fn block_before_return() -> impl Stream<Item = Result<u32, String>> {
    let mut n = 0;
    loop {
        tokio::select! {
            v = wait() => { if v.is_ok() { n += 1; } if n > 3 { return; } return; }
            () = std::future::pending() => yield_!(n),
        }
    }
}

#[sse_endpoint("/late-error")]
async fn late_error() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    yield_!(1);
    tokio::select! {
        _ = wait() => { for i in 0..2 { yield_!(i); } return Err("late".to_owned()); }
    }
}

#[sse_endpoint("/one-line")]
async fn one_line() -> impl Stream<Item = Result<u32, String>> { yield_!(wait().await?); }

#[derive(Serialize)]
enum Reply {
    Ok(u32),
}

#[sse_endpoint("/reply")]
async fn reply() -> impl Stream<Item = Result<Reply, String>> {
    yield_!(Reply::Ok(wait().await?));
}

fn parse(text: &str) -> Result<u32, StatusCode> {
    text.parse().map_err(|_| StatusCode::BAD_REQUEST)
}

#[sse_endpoint("/spawned")]
async fn spawned() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let task = tokio::spawn(std::future::ready(parse("1")?));
    yield_!(task.await.map_err(|error| error.to_string())?);
}

#[sse_endpoint("/pointer")]
async fn pointer() -> impl Stream<Item = Result<u32, String>> {
    tokio::select! {
        v = wait() => { let f: fn(u32) -> u32 = double; if f(v?) == 2 { return; } }
    }
    yield_!(1);
}

#[sse_endpoint("/inner")]
async fn inner() -> impl Stream<Item = u32> {
    yield_all!(async_stream::stream! { for i in 0..5 { if i == 3 { return; } yield i; } });
    let fallible = async_stream::try_stream! { let x = wait().await?; yield x; };
    let fallible: std::pin::Pin<Box<dyn Stream<Item = Result<u32, String>> + Send>> = Box::pin(fallible);
    drop(fallible);
}

#[sse_endpoint("/traced")]
#[tracing::instrument(err)]
async fn traced() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let number = parse("1")?;
    yield_!(number);
}

fn main() {
    let _: Router = Router::new()
        .sse(block_before_return)
        .sse(late_error)
        .sse(one_line)
        .sse(reply)
        .sse(spawned)
        .sse(pointer)
        .sse(inner)
        .sse(traced);
}
