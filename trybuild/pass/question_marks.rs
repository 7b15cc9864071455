//! A `?` or `return` in a closure, an `async` block or a nested function does not leave the endpoint.
#![deny(warnings)]

use axum::{Router, http::StatusCode};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/plain")]
async fn plain() -> impl Stream<Item = u32> {
    let parse = |text: &str| -> Option<u32> {
        text.parse::<u8>().ok()?;
        Some(1)
    };
    let wait = async {
        if parse("1").is_none() {
            return Err("none");
        }
        Err("one")?;
        Ok(2)
    };
    let closure = async |text: &str| {
        let one: u32 = text.parse()?;
        Ok::<_, std::num::ParseIntError>(one)
    };
    fn helper() -> Result<u32, std::num::ParseIntError> {
        return Ok("1".parse::<u32>()? + 1);
    }
    let handle = tokio::spawn(async {
        helper()?;
        Ok::<_, std::num::ParseIntError>(3)
    });
    yield_!(parse("1").unwrap_or(2));
    yield_!(wait.await.unwrap_or_default());
    yield_!(closure("1").await.unwrap_or_default());
    yield_!(
        handle
            .await
            .map_or(0, |three| three.unwrap_or(helper().unwrap_or(4)))
    );
}

/// `?` in various expressions before the response starts.
#[sse_endpoint("/both")]
async fn both() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let parse = |text: &str| text.parse::<u32>().map_err(|_| StatusCode::BAD_REQUEST);
    let sum = parse("1")? + parse("2")? * [parse("3")?][0];
    let Ok(four) = parse("4") else {
        return Err(StatusCode::NOT_FOUND);
    };
    let five = match parse("5") {
        Ok(five) => five,
        Err(status) => return Err(status),
    };
    let refused = Err(StatusCode::CONFLICT);
    if four == 5 {
        return refused;
    }
    let boxed: Result<u32, Box<dyn std::error::Error + Send + Sync>> =
        "6".parse().map_err(Into::into);
    let six = boxed.map_err(|_| StatusCode::BAD_REQUEST)?;
    let nested = Ok::<Result<u32, StatusCode>, StatusCode>(Ok(7))??;
    yield_!(sum + four + five + six + nested);
    let eight = async { Ok::<_, &str>(8) }.await?;
    yield_!(eight);
    let nine: u32 = "9"
        .parse()
        .map_err(|error: std::num::ParseIntError| error.to_string())?;
    yield_!(nine);
    if nine == 10 {
        Err("ten")?;
    }
}

fn main() {
    let _: Router = Router::new().sse(plain).sse(both);
}
