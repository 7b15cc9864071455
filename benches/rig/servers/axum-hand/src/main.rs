//! A hand-written server that follows axum's documentation. The server uses `Sse`, `async-stream`,
//! `broadcast`, `json_data` and `KeepAlive`.

use std::time::Duration;

use async_stream::stream;
use axum::{
    Error, Router,
    extract::{Query, State},
    response::sse::{Event, KeepAlive, Sse},
    routing::get,
};
use peer::{Burst, Open, Rate, Tick};
use tokio::{
    net::TcpListener,
    sync::broadcast::{self, error::RecvError},
};
use tokio_stream::Stream;

type Ticks = broadcast::Sender<Tick>;

async fn burst(Query(burst): Query<Burst>) -> Sse<impl Stream<Item = Result<Event, Error>>> {
    let events = stream! {
        let _open = Open::new();
        for seq in 0..burst.n {
            yield Event::default().json_data(Tick::new(seq));
        }
    };
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn first() -> Sse<impl Stream<Item = Result<Event, Error>>> {
    let events = stream! {
        let _open = Open::new();
        yield Event::default().json_data(Tick::new(0));
        std::future::pending::<()>().await;
    };
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn ticks(ticks: &Ticks) -> impl Stream<Item = Result<Event, Error>> + use<> {
    let mut ticks = ticks.subscribe();
    stream! {
        let _open = Open::new();
        loop {
            match ticks.recv().await {
                Ok(tick) => yield Event::default().json_data(&tick),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            }
        }
    }
}

async fn fan_out(State(all): State<Ticks>) -> Sse<impl Stream<Item = Result<Event, Error>>> {
    Sse::new(ticks(&all)).keep_alive(KeepAlive::default())
}

/// Like `fan_out`, but without a keep-alive, because the keep-alive timer would add to the memory
/// being measured.
async fn quiet(State(all): State<Ticks>) -> Sse<impl Stream<Item = Result<Event, Error>>> {
    Sse::new(ticks(&all))
}

async fn tick() -> Sse<impl Stream<Item = Result<Event, Error>>> {
    let events = stream! {
        let _open = Open::new();
        let mut every = tokio::time::interval(Duration::from_secs(1));
        for seq in 0.. {
            every.tick().await;
            yield Event::default().json_data(Tick::new(seq));
        }
    };
    Sse::new(events).keep_alive(KeepAlive::default())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (ticks, _) = broadcast::channel(1024);
    let sender = ticks.clone();
    tokio::spawn(peer::publish(move |seq| {
        // Initially, there are no receivers.
        let _ = sender.send(Tick::new(seq));
    }));
    let rate = |Query(rate): Query<Rate>| async move { peer::set_rate(&rate) };
    let app = Router::new()
        .route("/burst", get(burst))
        .route("/first", get(first))
        .route("/fanout", get(fan_out))
        .route("/quiet", get(quiet))
        .route("/tick", get(tick))
        .route("/rate", get(rate))
        .route("/stats", get(async || peer::stats()))
        .with_state(ticks);
    let listener = TcpListener::bind(("127.0.0.1", peer::port())).await?;
    // Given the router itself, `axum::serve` copies all routes for each connection, which costs
    // memory. The servers do not have the same number of routes.
    axum::serve(listener, app.into_make_service()).await
}
