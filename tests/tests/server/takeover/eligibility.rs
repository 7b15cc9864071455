//! The responses that the server takes over from hyper.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response, sse},
    routing::get,
};
use http_body::Frame;
use sse_runtime::{Stream, sse_endpoint};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;

use support::{Client, Generators, SseRouterExt as _, body, soon};

use super::{ask, expect_two, serve, two};

#[tokio::test]
async fn any_event_stream_response_is_taken_over() {
    async fn axums() -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
        let events =
            tokio_stream::iter(1..=2).map(|event| sse::Event::default().data(event.to_string()));
        sse::Sse::new(events.map(Ok))
    }
    async fn odd() -> Response {
        let mut frames = Vec::from(["a", "", "bc"].map(body::data));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("3"));
        frames.push(Frame::trailers(trailers));
        let content_type = [(header::CONTENT_TYPE, "Text/Event-Stream ;x=y")];
        (content_type, body::of_frames(frames)).into_response()
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
    // Trailers that were not announced are dropped.
    assert_eq!(client.chunk().await, Ok(None));
    expect_two(&mut client).await;
}

/// Counters for the bytes read from response bodies and for the bodies that have been dropped.
#[derive(Clone, Default)]
struct Seen(Arc<(AtomicUsize, watch::Sender<usize>)>);

/// A guard that counts its body as dropped.
struct Dropped(Seen);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.1.send_modify(|dropped| *dropped += 1);
    }
}

impl Seen {
    /// Wraps `body` to count the bytes of the body and to record when the body is dropped.
    fn count(self, mut body: Body) -> Body {
        let dropped = Dropped(self);
        body::poll_fn(move |cx| {
            let polled = Pin::new(&mut body).poll_frame(cx);
            if let Poll::Ready(Some(Ok(frame))) = &polled {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                dropped.0.0.0.fetch_add(bytes, Ordering::Relaxed);
            }
            polled
        })
    }
}

#[sse_endpoint("/quiet")]
async fn quiet(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[tokio::test]
async fn body_from_the_outermost_layer_is_driven() {
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
                response.map(|body| seen.count(body))
            }
        }));
    let addr = serve(app).await;
    let mut dropped = seen.0.1.subscribe();

    let mut client = Client::get(addr, "/two").await;
    expect_two(&mut client).await;
    // The body must be dropped even if no other request follows on the connection.
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
