//! `yield_!` works in user-defined macros, no matter where they are defined.
#![deny(warnings)]

use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

macro_rules! twice {
    ($value:expr) => {{
        yield_!($value);
        yield_!($value);
    }};
}

macro_rules! pass {
    ($($tokens:tt)*) => { $($tokens)* };
}

macro_rules! expression {
    ($expression:expr) => {
        $expression
    };
}

#[sse_endpoint("/plain")]
async fn plain() -> impl Stream<Item = u32> {
    twice!(1);
    macro_rules! both {
        ($one:expr, $two:expr) => {
            yield_!($one);
            yield_!($two + 1);
        };
    }
    both!(1, 2);
    pass! {
        for tick in 0..3 {
            yield_!(tick);
        }
    }
    expression!(yield_!(3));
    pass!(yield_all!(tokio_stream::iter([4])));
}

#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = Result<u32, String>> {
    macro_rules! all {
        ($stream:expr) => {
            yield_all!($stream)
        };
    }
    twice!(expression!(wait().await?));
    all!(tokio_stream::iter([wait().await]));
    pass! { if wait().await? == 2 { return Err("two".to_owned()); } }
}

/// Macros that do not yield, called before the response starts.
#[sse_endpoint("/refuses")]
async fn refuses() -> Result<impl Stream<Item = Result<u32, String>>, &'static str> {
    let text = expression!(Ok::<_, &'static str>("one")?);
    let one = vec![text.parse::<u32>().map_err(|_| "no number")?];
    assert!(!one.is_empty(), "{text} {}", one.len());
    twice!(one[0]);
    yield_!(wait().await?);
}

/// The only code that yields is in a macro whose contents `#[sse_endpoint]` cannot see.
#[sse_endpoint("/unknown")]
async fn unknown() -> impl Stream<Item = u32> {
    twice!(1);
}

async fn wait() -> Result<u32, String> {
    Ok(1)
}

fn main() {
    let _: Router = Router::new()
        .sse(plain)
        .sse(fails)
        .sse(refuses)
        .sse(unknown);
}
