//! Tests when the body of a stream is polled and with which waker.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    middleware::map_response,
    response::Response,
};
use http_body::Frame;
use sse_runtime::{Connection, Start, Stream, Text, Topic, sse_endpoint};
use tokio::sync::Notify;
use tower_service::Service as _;
use tracing::span;
use tracing_subscriber::{
    layer::{self, Layer, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use support::{
    Client, SseRouterExt as _,
    body::{self, PolledFrame},
};

use super::serve;

#[sse_endpoint("/topic")]
async fn of_topic(State(topic): State<Topic<u32>>) -> impl Stream<Item = u32> {
    yield_all!(topic.subscribe(Start::Now));
}

/// A tracing layer that counts how often generators are polled. Each poll enters the generator's
/// span.
#[derive(Clone, Default)]
struct Polls(Arc<AtomicUsize>);

impl<S> Layer<S> for Polls
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_enter(&self, id: &span::Id, context: layer::Context<'_, S>) {
        let span = context.span(id).expect("the entered span");
        if span.name() == "event_stream" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A generator that waits for the next event should be polled once per event.
#[tokio::test]
async fn waiting_generator_is_polled_once_for_each_event() {
    const EVENTS: u32 = 100;
    let polls = Polls::default();
    // See `support::log`.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    let _default = tracing_subscriber::registry()
        .with(polls.clone())
        .set_default();
    let topic = Topic::in_memory(16);
    let app = Router::new().sse(of_topic).with_state(topic.clone());
    let mut client = Client::get(serve(app).await, "/topic").await;
    client.head().await;
    for event in 0..EVENTS {
        topic.try_publish(&event).unwrap();
        client.expect_chunk().await;
    }
    let polls = polls.0.load(Ordering::Relaxed);
    // There may be a few more polls for other reasons.
    let once = EVENTS as usize..EVENTS as usize * 3 / 2;
    assert!(once.contains(&polls), "{polls} polls for {EVENTS} events");
}

/// A body wrapper added by a layer. When the wrapper forwards an event, it publishes the next event
/// in the same poll.
struct Publishing {
    body: Body,
    topic: Topic<u32>,
    next: u32,
    own: Option<Arc<OwnWaker>>,
}

/// A waker for the inner body, like the wakers in `FuturesUnordered`. The inner body is polled only
/// if this waker was woken.
#[derive(Default)]
struct OwnWaker {
    was_woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for OwnWaker {
    fn wake(self: Arc<Self>) {
        self.was_woken.store(true, Ordering::SeqCst);
        if let Some(outer) = self.outer.lock().unwrap().take() {
            outer.wake();
        }
    }
}

impl Publishing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let polled = match &self.own {
            None => Pin::new(&mut self.body).poll_frame(cx),
            Some(own) => {
                *own.outer.lock().unwrap() = Some(cx.waker().clone());
                if !own.was_woken.swap(false, Ordering::SeqCst) {
                    return Poll::Pending;
                }
                let waker = Waker::from(Arc::clone(own));
                Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker))
            }
        };
        if polled.is_ready() {
            if let Some(own) = &self.own {
                own.was_woken.store(true, Ordering::SeqCst);
            }
            self.next += 1;
            self.topic.try_publish(&self.next).unwrap();
        }
        polled
    }
}

#[tokio::test]
async fn event_published_within_a_poll_is_not_missed() {
    for has_own_waker in [false, true] {
        let topic = Topic::in_memory(16);
        let publishes = topic.clone();
        let app = Router::new().sse(of_topic).with_state(topic.clone());
        let app = app.layer(map_response(move |response: Response| {
            let topic = publishes.clone();
            async move {
                let own = has_own_waker.then(Arc::<OwnWaker>::default);
                if let Some(own) = &own {
                    own.was_woken.store(true, Ordering::SeqCst);
                }
                response.map(|body| {
                    let mut publishing = Publishing {
                        body,
                        topic,
                        next: 0,
                        own,
                    };
                    body::poll_fn(move |cx| publishing.poll_frame(cx))
                })
            }
        }));
        let mut client = Client::get(serve(app).await, "/topic").await;
        client.head().await;
        topic.try_publish(&0).unwrap();
        for event in 0..1_000_u32 {
            let chunk = client.expect_chunk().await;
            assert!(chunk.ends_with(&format!("data: {event}\n\n")), "{chunk}");
        }
    }
}

/// Closes its stream when notified.
#[sse_endpoint("/until", keep_alive = "off")]
async fn until(
    State((topic, over)): State<(Topic<u32>, Arc<Notify>)>,
    connection: Connection,
) -> impl Stream<Item = u32> {
    connection.close_when(async move { over.notified().await });
    yield_all!(topic.subscribe(Start::Now));
}

/// Wraps `body` to combine all ready frames into one. Like `now_or_never`, the wrapper uses a no-op
/// waker when it polls for more frames after the first.
fn gathering(mut body: Body) -> Body {
    body::poll_fn(move |cx| {
        let mut next = ready!(Pin::new(&mut body).poll_frame(cx));
        let mut gathered = Vec::new();
        let mut noop = Context::from_waker(Waker::noop());
        while let Some(frame) = next {
            gathered.extend(frame?.into_data().unwrap());
            match Pin::new(&mut body).poll_frame(&mut noop) {
                Poll::Ready(another) => next = another,
                Poll::Pending => break,
            }
        }
        let gathered = Some(gathered).filter(|gathered| !gathered.is_empty());
        Poll::Ready(gathered.map(|gathered| Ok(Frame::data(gathered.into()))))
    })
}

#[tokio::test]
async fn revocation_is_seen_after_a_poll_with_a_noop_waker() {
    let topic = Topic::in_memory(16);
    let over = Arc::new(Notify::new());
    let gather = async |response: Response| response.map(gathering);
    let app = Router::new()
        .sse(until)
        .with_state((topic.clone(), Arc::clone(&over)))
        .layer(map_response(gather));
    let mut client = Client::get(serve(app).await, "/until").await;
    client.head().await;
    topic.try_publish(&0).unwrap();
    let event = client.expect_chunk().await;
    assert!(event.ends_with("data: 0\n\n"), "{event}");
    over.notify_one();
    client.read_to(r#"{"reason":"revoked"}"#).await;
}

/// A response body shared by several clients, each of which receives one of the body's events.
type Shared = Arc<tokio::sync::Mutex<Body>>;

#[sse_endpoint("/one")]
async fn one(State(shared): State<Shared>) -> impl Stream<Item = Text<String>> {
    let frame = {
        let mut body = shared.lock().await;
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
    };
    let event = frame.unwrap().unwrap().into_data().unwrap();
    yield_!(Text(String::from_utf8(event.to_vec()).unwrap()));
}

#[tokio::test]
async fn body_moved_to_another_task_is_still_polled() {
    let topic = Topic::in_memory(16);
    let mut router = Router::new().sse(of_topic).with_state(topic.clone());
    let request = Request::get("/topic").body(Body::empty()).unwrap();
    let body = router.call(request).await.unwrap().into_body();
    let shared = Arc::new(tokio::sync::Mutex::new(body));
    let app = Router::new().sse(one).with_state(Arc::clone(&shared));
    let addr = serve(app).await;
    for event in 0..20 {
        let mut client = Client::get(addr, "/one").await;
        client.head().await;
        // Wait until a poll of the body has returned `Pending`.
        while topic.subscribers() == 0 || shared.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        topic.try_publish(&event).unwrap();
        client.read_to(&format!("data: data: {event}\n")).await;
    }
}
