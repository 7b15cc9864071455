//! A server built with this project as a user would build one. The server calls `serve`.
//!
//! | argument | effect |
//! | --- | --- |
//! | `plain` | the server calls `axum::serve` instead |
//! | `log` | the topic of `/fanout` is stored in the file `fan-out.redb` |
//! | `redis URL` | the topic of `/fanout` is stored in Redis |
//! | `replay` | the file `replay.redb` contains the topic of `/replay` |

use std::{fs, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, Query, State},
    routing::get,
};
use peer::{Burst, Open, Rate, Tick};
use sse_log::Log;
use sse_redis::Redis;
use sse_runtime::{SseRouterExt as _, Start, Stream, Topic, sse_endpoint};
use tokio::{net::TcpListener, sync::OnceCell};

/// The number of events in the topic that a burst replays.
const HELD: u64 = 10_000;

#[derive(Clone, FromRef)]
struct Topics {
    live: Topic<Tick>,
    held: Held,
    stored: Stored,
}

/// A topic that `/burst-topic` replays repeatedly.
#[derive(Clone)]
struct Held(Topic<Tick>);

/// A log, and its topic. The topic is opened by the first request.
#[derive(Clone)]
struct Stored(Option<Log>, Arc<OnceCell<Topic<Tick>>>);

impl Stored {
    async fn topic(&self) -> &Topic<Tick> {
        let log = self.0.as_ref().expect("the argument `replay`");
        let open = async || {
            let builder = Topic::builder().keep(100_000).keep_bytes(256 * 1024 * 1024);
            builder.open(log, "ticks").await.expect("an intact log")
        };
        self.1.get_or_init(open).await
    }
}

#[sse_endpoint("/burst", flush = "ready")]
async fn burst(Query(burst): Query<Burst>) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    for seq in 0..burst.n {
        yield_!(Tick::new(seq));
    }
}

#[sse_endpoint("/burst-each")]
async fn burst_each(Query(burst): Query<Burst>) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    for seq in 0..burst.n {
        yield_!(Tick::new(seq));
    }
}

#[sse_endpoint("/burst-topic")]
async fn burst_topic(
    Query(burst): Query<Burst>,
    State(Held(held)): State<Held>,
) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    for _ in 0..burst.n / HELD {
        yield_all!(held.subscribe(Start::First));
    }
}

#[sse_endpoint("/replay")]
async fn replay(State(stored): State<Stored>) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    yield_all!(stored.topic().await.subscribe(Start::First));
}

#[sse_endpoint("/first")]
async fn first() -> impl Stream<Item = Tick> {
    let _open = Open::new();
    yield_!(Tick::new(0));
    std::future::pending::<()>().await;
}

#[sse_endpoint("/fanout")]
async fn fan_out(State(live): State<Topic<Tick>>) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    yield_all!(live.subscribe(Start::Now));
}

#[sse_endpoint("/tick")]
async fn tick() -> impl Stream<Item = Tick> {
    let _open = Open::new();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    for seq in 0.. {
        every.tick().await;
        yield_!(Tick::new(seq));
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let replayed = match peer::has_flag("replay") {
        true => Some(Log::open("replay.redb").await.expect("a log")),
        false => None,
    };
    let redis = peer::value_of("redis");
    let is_stored = peer::has_flag("log") || redis.is_some();
    let topics = Topics {
        live: match redis {
            Some(url) => {
                let redis = Redis::open(&*url).await.expect("a Redis server");
                Topic::open(&redis, "ticks").await.expect("a topic")
            }
            None if is_stored => {
                // The file may not exist.
                let _ = fs::remove_file("fan-out.redb");
                let log = Log::open("fan-out.redb").await.expect("a log");
                Topic::open(&log, "ticks").await.expect("a topic")
            }
            None => Topic::in_memory(1024),
        },
        held: Held(Topic::in_memory(10_000)),
        stored: Stored(replayed, Arc::default()),
    };
    for seq in 0..HELD {
        let published = topics.held.0.try_publish(&Tick::new(seq));
        published.expect("an open topic");
    }
    // Finish the topic, because a stream that replays an unfinished topic waits for more events
    // instead of ending.
    topics.held.0.finish().await.expect("an in-memory topic");
    let live = topics.live.clone();
    if is_stored {
        tokio::spawn(peer::publish_concurrently(move |seq| {
            let (live, tick) = (live.clone(), Tick::new(seq));
            async move {
                // An event that is not stored is counted as not delivered. If the server is
                // overloaded, Redis may not confirm an event in time.
                if let Err(error) = live.publish(&tick).await {
                    eprintln!("failed to publish: {error}");
                }
            }
        }));
    } else {
        tokio::spawn(peer::publish(move |seq| {
            live.try_publish(&Tick::new(seq)).expect("an open topic");
        }));
    }
    let rate = |Query(rate): Query<Rate>| async move { peer::set_rate(&rate) };
    let app = Router::new()
        .sse(burst)
        .sse(burst_each)
        .sse(burst_topic)
        .sse(replay)
        .sse(first)
        .sse(fan_out)
        .sse(tick)
        .route("/rate", get(rate))
        .route("/stats", get(async || peer::stats()))
        .with_state(topics);
    let listener = TcpListener::bind(("127.0.0.1", peer::port())).await?;
    if peer::has_flag("plain") {
        // Given the router itself, `axum::serve` copies all routes for each connection, which costs
        // memory. The servers do not have the same number of routes.
        axum::serve(listener, app.into_make_service()).await
    } else {
        sse_runtime::serve(listener, app).await
    }
}
