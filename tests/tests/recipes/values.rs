//! The lifetime of values that are bound before the first event.

use std::{future::pending, sync::Arc};

use axum::{Router, extract::State};
use sse_runtime::{Stream, sse_endpoint};
use support::{Client, SseRouterExt as _, serve};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A pool with a fixed number of connections.
#[derive(Clone)]
struct Pool(Arc<Semaphore>);

struct PooledConnection(#[expect(dead_code, reason = "returned on drop")] OwnedSemaphorePermit);

impl Pool {
    fn new(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(connections)))
    }

    async fn get(&self) -> PooledConnection {
        PooledConnection(self.0.clone().acquire_owned().await.unwrap())
    }

    fn free(&self) -> usize {
        self.0.available_permits()
    }
}

impl PooledConnection {
    async fn first_price(&mut self) -> u64 {
        tokio::task::yield_now().await;
        1250
    }
}

/// Keeps its connection until the stream ends, although it does not use it after the first event.
#[sse_endpoint("/kept")]
async fn kept(State(pool): State<Pool>) -> impl Stream<Item = u64> {
    let mut _conn = pool.get().await;
    let first = _conn.first_price().await;
    yield_!(first);
    pending::<()>().await;
}

#[sse_endpoint("/returned")]
async fn returned(State(pool): State<Pool>) -> impl Stream<Item = u64> {
    let mut conn = pool.get().await;
    let first = conn.first_price().await;
    drop(conn);
    yield_!(first);
    pending::<()>().await;
}

#[sse_endpoint("/scoped")]
async fn scoped(State(pool): State<Pool>) -> impl Stream<Item = u64> {
    let first = {
        let mut conn = pool.get().await;
        conn.first_price().await
    };
    yield_!(first);
    pending::<()>().await;
}

#[tokio::test]
async fn values_live_until_they_are_dropped() {
    for (path, free) in [("/kept", 0), ("/returned", 1), ("/scoped", 1)] {
        let pool = Pool::new(1);
        let app = Router::new()
            .sse(kept)
            .sse(returned)
            .sse(scoped)
            .with_state(pool.clone());
        let mut client = Client::get(serve(app).await, path).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: 1250\n\n");
        assert_eq!(pool.free(), free, "{path}");
        // In any case, the connection is free once the client has disconnected.
        drop(client);
        let _conn = support::soon("the pooled connection", pool.get()).await;
    }
}
