//! A server built with actix-web, following actix-web-lab's documentation.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    App, HttpServer, Responder, get,
    web::{Data, Query},
};
use actix_web_lab::sse::{self, Sse};
use async_stream::stream;
use peer::{Burst, Open, Rate, Tick};
use tokio::sync::broadcast::{self, error::RecvError};

/// The same as axum's default.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Ticks = broadcast::Sender<Tick>;

fn event(tick: &Tick) -> Result<sse::Event, Infallible> {
    let data = sse::Data::new_json(tick).expect("a plain struct");
    Ok(data.into())
}

#[get("/burst")]
async fn burst(query: Query<Burst>) -> impl Responder {
    let events = stream! {
        let _open = Open::new();
        for seq in 0..query.n {
            yield event(&Tick::new(seq));
        }
    };
    Sse::from_stream(events).with_keep_alive(KEEP_ALIVE)
}

#[get("/fanout")]
async fn fan_out(ticks: Data<Ticks>) -> impl Responder {
    let mut ticks = ticks.subscribe();
    let events = stream! {
        let _open = Open::new();
        loop {
            match ticks.recv().await {
                Ok(tick) => yield event(&tick),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            }
        }
    };
    Sse::from_stream(events).with_keep_alive(KEEP_ALIVE)
}

#[get("/tick")]
async fn timer() -> impl Responder {
    let events = stream! {
        let _open = Open::new();
        let mut every = tokio::time::interval(Duration::from_secs(1));
        for seq in 0.. {
            every.tick().await;
            yield event(&Tick::new(seq));
        }
    };
    Sse::from_stream(events).with_keep_alive(KEEP_ALIVE)
}

#[get("/rate")]
async fn rate(query: Query<Rate>) -> impl Responder {
    peer::set_rate(&query)
}

#[get("/stats")]
async fn stats() -> impl Responder {
    peer::stats()
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let (ticks, _) = broadcast::channel(1024);
    let sender: Ticks = ticks.clone();
    actix_web::rt::spawn(peer::publish(move |seq| {
        // Initially, there are no receivers.
        let _ = sender.send(Tick::new(seq));
    }));
    let ticks = Data::new(ticks);
    let app = move || {
        App::new()
            .app_data(ticks.clone())
            .service(burst)
            .service(fan_out)
            .service(timer)
            .service(rate)
            .service(stats)
    };
    HttpServer::new(app)
        .max_connections(100_000)
        .bind(("127.0.0.1", peer::port()))?
        .run()
        .await
}
