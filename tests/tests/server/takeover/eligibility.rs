//! The responses that are taken over.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response, sse},
    routing::get,
};
use http_body::Frame;
use sse_runtime::{RouterExt as _, Stream, sse_endpoint};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;

use support::{Client, Generators, soon};

use super::{Frames, ask, expect_two, serve, two};

#[tokio::test]
async fn an_event_stream_is_taken_over_whoever_made_it() {
    async fn axums() -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
        let events =
            tokio_stream::iter(1..=2).map(|event| sse::Event::default().data(event.to_string()));
        sse::Sse::new(events.map(Ok))
    }
    async fn odd() -> Response {
        let mut frames: Vec<_> = Frames::of(&["a", "", "bc"]).0.collect();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("3"));
        frames.push(Frame::trailers(trailers));
        let body = Body::new(Frames(frames.into_iter()));
        ([(header::CONTENT_TYPE, "Text/Event-Stream ;x=y")], body).into_response()
    }
    let app = Router::new()
        .route("/axum", get(axums))
        .route("/odd", get(odd));
    let mut client = Client::connect(serve(app).await).await;
    client
        .send((ask("/axum") + &ask("/odd") + &ask("/axum")).as_bytes())
        .await;
    expect_two(&mut client).await;
    let head = client.head().await;
    assert_eq!(head.get("content-type"), Some("Text/Event-Stream ;x=y"));
    assert_eq!(client.expect_chunk().await, "a");
    assert_eq!(client.expect_chunk().await, "bc");
    // Trailers that were not announced are for nobody.
    assert_eq!(client.chunk().await, Ok(None));
    expect_two(&mut client).await;
}

/// What is read of a stream's body, and whether it is still there.
#[derive(Clone, Default)]
struct Seen(Arc<(AtomicUsize, watch::Sender<usize>)>);

struct Counted {
    body: Body,
    seen: Seen,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.seen.0.0.fetch_add(bytes, Ordering::Relaxed);
        }
        polled
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.seen.0.1.send_modify(|dropped| *dropped += 1);
    }
}

#[sse_endpoint("/quiet")]
async fn quiet(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[tokio::test]
async fn the_body_that_is_driven_is_the_one_that_came_out_of_the_layers() {
    let seen = Seen::default();
    let counts = seen.clone();
    let generators = Generators::new();
    let app = Router::new()
        .sse(two)
        .sse(quiet)
        .with_state(generators.clone())
        .layer(from_fn(move |request: Request, next: Next| {
            let seen = counts.clone();
            async move {
                let response = next.run(request).await;
                response.map(|body| Body::new(Counted { body, seen }))
            }
        }));
    let addr = serve(app).await;
    let mut dropped = seen.0.1.subscribe();

    let mut client = Client::get(addr, "/two").await;
    expect_two(&mut client).await;
    // Before the connection is asked for anything else.
    soon(
        "the body to be dropped",
        dropped.wait_for(|dropped| *dropped == 1),
    )
    .await
    .unwrap();
    assert_eq!(seen.0.0.load(Ordering::Relaxed), 18);

    client.send(ask("/quiet").as_bytes()).await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    drop(client);
    soon(
        "the body to be dropped",
        dropped.wait_for(|dropped| *dropped == 2),
    )
    .await
    .unwrap();
    generators.until_alive(0).await;
}
