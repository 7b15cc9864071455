//! Borrows taken before the response starts stay valid afterwards, because the code before and after that point is
//! compiled into a single coroutine.
#![deny(warnings)]

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, http::StatusCode};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};
use tokio::sync::Semaphore;

#[sse_endpoint("/permit")]
async fn permit(
    State(permits): State<Arc<Semaphore>>,
) -> Result<impl Stream<Item = String>, StatusCode> {
    let _permit = permits
        .acquire()
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let text = "one two".to_owned();
    let words: Vec<&str> = text.split(' ').collect();
    for word in &words {
        yield_!(word.to_string());
    }
    yield_!(words[0].to_owned());
}

/// The lock guard is dropped before the generator waits.
#[sse_endpoint("/lock")]
async fn lock() -> impl Stream<Item = u32> {
    let shared = Mutex::new(1);
    yield_!(*shared.lock().unwrap());
    yield_!(&*shared.lock().unwrap());
    *shared.lock().unwrap() += 1;
}

/// A future that is pinned on the stack and borrows a local variable.
#[sse_endpoint("/pinned")]
async fn pinned() -> impl Stream<Item = u32> {
    let mut count = 0;
    let mut next = std::pin::pin!(async {
        count += 1;
        count
    });
    let count = next.as_mut().await;
    yield_!(count);
}

fn main() {
    let app: Router<Arc<Semaphore>> = Router::new().sse(permit).sse(lock).sse(pinned);
    let _: Router = app.with_state(Arc::new(Semaphore::new(1)));
}
