//! Tasks that a stream spawns.

use std::future::pending;

use axum::{Router, extract::State, http::StatusCode};
use sse_runtime::{CloseReason, Connection, Stream, sse_endpoint, testing};
use support::{SseRouterExt as _, log::Log};

use super::Told;

#[tokio::test]
async fn panicking_task_ends_its_stream() {
    /// Waits forever but does not await the spawned task.
    #[sse_endpoint("/waits")]
    async fn waits(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u32> {
        told.watch(&connection);
        yield_!(1);
        connection.spawn(async { panic!("in a task") });
        pending::<()>().await;
    }
    /// Never waits.
    #[sse_endpoint("/floods")]
    async fn floods(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u32> {
        told.watch(&connection);
        connection.spawn(async { panic!("in a task") });
        loop {
            yield_!(1);
        }
    }
    /// Never starts its response.
    #[sse_endpoint("/decides")]
    async fn decides(
        connection: Connection,
        State(told): State<Told>,
    ) -> Result<impl Stream<Item = u32>, StatusCode> {
        told.watch(&connection);
        connection.spawn(async { panic!("in a task") });
        pending::<()>().await;
        yield_!(1);
    }
    let log = Log::capture();
    let (told, mut reasons) = Told::new();
    let app = Router::new().sse(waits).sse(floods).sse(decides);
    let client = testing::Client::new(app.with_state(told));
    for path in ["/waits", "/floods"] {
        let mut events = client.get(path).await.events();
        let mut last = events.expect_event().await;
        let is_cut_off = loop {
            match events.next().await {
                Ok(Some(event)) => last = event,
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(is_cut_off, "{path}");
        assert_eq!((last.event.as_str(), last.id.as_str()), ("error", "~done"));
        let (_, reason, _) = reasons.recv().await.unwrap();
        assert_eq!(reason, CloseReason::Panicked, "{path}");
    }
    let response = client.get("/decides").await;
    assert_eq!(response.status(), 500);
    let (_, reason, _) = reasons.recv().await.unwrap();
    assert_eq!(reason, CloseReason::Panicked);
    let log = log.text();
    assert!(log.contains("a task of a stream panicked"), "{log}");
}
