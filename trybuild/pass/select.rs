//! All forms of `tokio::select!` arms. In an arm, `return` and `?` work as they do in the rest of the endpoint.
#![deny(warnings)]

use std::time::Duration;

use axum::{Router, http::StatusCode};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};
use tokio::{select, sync::mpsc, time};

async fn wait() -> Result<u32, String> {
    time::sleep(Duration::from_secs(1)).await;
    Ok(1)
}

#[sse_endpoint("/plain")]
async fn plain() -> impl Stream<Item = u32> {
    let (_sender, mut ticks) = mpsc::channel::<u32>(1);
    loop {
        select! {
            biased;
            tick = ticks.recv() => match tick {
                Some(tick) if tick > 3 || tick == 1 => yield_!(tick),
                Some(_) => break,
                None => return,
            },
            () = time::sleep(Duration::from_secs(1)) => { yield_!(0); }
            Ok(tick) = wait(), if true => yield_!(tick),
            // In an `async` block, `return` and `?` leave only that block.
            result = async {
                if true {
                    return Err("early".to_owned());
                }
                wait().await?;
                Ok(2)
            } => yield_!(result.unwrap_or_else(|text: String| { if text.is_empty() { return 1; } 2 })),
        }
    }
    yield_!(4);
}

#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = Result<u32, String>> {
    loop {
        select! {
            one = wait() => yield_!(one?),
            () = time::sleep(Duration::from_secs(1)) => return Err("late".to_owned()),
            () = time::sleep(Duration::from_secs(2)) => return,
            else => break,
        }
    }
}

#[sse_endpoint("/refuses")]
async fn refuses() -> Result<impl Stream<Item = u32>, StatusCode> {
    let one = select! {
        one = wait() => one.map_err(|_| StatusCode::BAD_GATEWAY)?,
        () = time::sleep(Duration::from_secs(1)) => return Err(StatusCode::GATEWAY_TIMEOUT),
        () = time::sleep(Duration::from_secs(2)) => return,
    };
    yield_!(one);
    select! {
        two = wait() => if let Ok(two) = two { yield_!(two) },
        () = time::sleep(Duration::from_secs(1)) => return,
    }
}

#[sse_endpoint("/both")]
async fn both() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let one = select! {
        one = wait() => one.map_err(|_| StatusCode::BAD_GATEWAY)?,
        () = time::sleep(Duration::from_secs(1)) => return Err(StatusCode::GATEWAY_TIMEOUT),
    };
    yield_!(one);
    loop {
        select! {
            two = wait() => yield_!(two?),
            () = time::sleep(Duration::from_secs(1)) => { return Err("late".to_owned()); }
            () = time::sleep(Duration::from_secs(2)) => yield_all!(tokio_stream::iter([wait().await])),
        }
    }
}

fn main() {
    let _: Router = Router::new().sse(plain).sse(fails).sse(refuses).sse(both);
}
