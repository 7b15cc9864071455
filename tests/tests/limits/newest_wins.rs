//! `newest_wins`: a new stream ends the oldest stream with the same key.

use std::net::SocketAddr;

use axum::Router;
use sse_runtime::StreamLimit;
use support::{Generators, SseRouterExt as _, serve, within};
use tokio::{sync::watch, task::JoinSet};

use super::*;

/// Serves an app with one permit per user, which the user's newest stream takes over.
async fn newest_of_each_user() -> (SocketAddr, Generators, watch::Sender<u32>) {
    let (app, shared, happen) = app();
    let generators = shared.generators.clone();
    let newest = StreamLimit::per_key(1, |request| request.headers.get("user").cloned());
    let app = app.sse(prepares).sse(floods).layer(newest.newest_wins());
    (serve(app.with_state(shared)).await, generators, happen)
}

const USER: &str = "user: a\r\n";

#[tokio::test]
async fn newest_stream_of_a_key_ends_its_oldest() {
    let (addr, generators, happen) = newest_of_each_user().await;
    let mut other = try_connect(addr, "user: b\r\n").await.unwrap();
    let mut old = try_connect(addr, USER).await.unwrap();
    let mut new = try_connect(addr, USER).await.unwrap();
    let frame = "event: close\nid: ~done\ndata: {\"reason\":\"superseded\"}\n\n";
    assert_eq!(old.expect_chunk().await, frame);
    assert_eq!(old.chunk().await, Ok(None));
    generators.until_alive(2).await;

    // When the old stream's client reconnects, the server responds with 204, so the client stops
    // reconnecting.
    let returns = format!("{USER}last-event-id: ~done\r\n");
    let (_, head) = ask(addr, "GET /events", &returns).await;
    assert_eq!(head.status_line, "HTTP/1.1 204 No Content");
    happen.send(7).unwrap();
    assert_eq!(new.expect_chunk().await, "data: 7\n\n");
    assert_eq!(other.expect_chunk().await, "data: 7\n\n");
    assert_eq!(generators.count().alive, 2);
}

/// A stream is superseded only once the new stream has started.
#[tokio::test]
async fn rejected_request_supersedes_nothing() {
    let (addr, generators, happen) = newest_of_each_user().await;
    let mut stays = try_connect(addr, USER).await.unwrap();
    for (line, status) in [
        ("GET /rejects/1", "HTTP/1.1 403 Forbidden"),
        ("GET /rejects/x", "HTTP/1.1 400 Bad Request"),
        ("HEAD /events", "HTTP/1.1 200 OK"),
    ] {
        let (_, head) = ask(addr, line, USER).await;
        assert_eq!(head.status_line, status);
    }
    // A request needs a permit even while it prepares its response, so a newer request supersedes
    // it.
    let request = format!("GET /prepares HTTP/1.1\r\nhost: test\r\n{USER}\r\n");
    let mut prepares = Client::connect(addr).await;
    prepares.send(request.as_bytes()).await;
    generators.until_started(2).await;
    let mut newer = Client::connect(addr).await;
    newer.send(request.as_bytes()).await;
    assert_eq!(prepares.head().await.status_line, "HTTP/1.1 409 Conflict");
    generators.until_started(3).await;
    // The old stream continues until the newer response starts.
    generators.until_alive(2).await;
    happen.send(1).unwrap();
    assert_eq!(newer.head().await.status_line, "HTTP/1.1 200 OK");
    stays.read_to("superseded").await;
    generators.until_alive(0).await;
}

/// A stalled stream hands its permit over to its successor.
#[tokio::test]
async fn unread_stream_is_superseded_at_once() {
    let (addr, generators, _happen) = newest_of_each_user().await;
    let mut unread = Client::connect_narrow(addr).await;
    let request = format!("GET /floods HTTP/1.1\r\nhost: test\r\n{USER}\r\n");
    unread.send(request.as_bytes()).await;
    generators.until_started(1).await;
    let _new = try_connect(addr, USER).await.unwrap();
    generators.until_alive(1).await;
}

#[test]
#[should_panic(expected = "per_key")]
fn newest_wins_panics_for_all_streams() {
    let _ = StreamLimit::new(1).newest_wins();
}

/// Returns a limit that keeps each user's newest stream, and a limit on the total number of
/// streams.
fn newest_and_total(max: usize) -> [StreamLimit; 2] {
    let newest = StreamLimit::per_key(1, |request| request.headers.get("user").cloned());
    [newest.newest_wins(), StreamLimit::new(max)]
}

#[tokio::test]
async fn newest_stream_takes_over_slots_of_full_limits() {
    for layout in ["total outside", "total inside", "of the server"] {
        let (app, shared, _happen) = app();
        let generators = shared.generators.clone();
        let [newest, total] = newest_and_total(2);
        let router = match layout {
            "total outside" => app.layer(newest).layer(total),
            "total inside" => app.layer(total).layer(newest),
            _ => app.layer(newest),
        };
        let mut server = server_of(router.with_state(shared));
        if layout == "of the server" {
            server = server.max_streams(2);
        }
        let addr = support::serve_as(server).await;
        let mut first = try_connect(addr, "user: a\r\n").await.unwrap();
        let _other = try_connect(addr, "user: b\r\n").await.unwrap();
        let mut last = None;
        for _ in 0..3 {
            let next = try_connect(addr, "user: a\r\n").await;
            let mut old =
                last.replace(next.unwrap_or_else(|rejected| panic!("{layout}: {rejected:?}")));
            old.as_mut()
                .unwrap_or(&mut first)
                .read_to("superseded")
                .await;
            generators.until_alive(2).await;
            try_connect(addr, "user: c\r\n").await.unwrap_err();
        }
        // A rejected request neither keeps a slot nor ends a stream.
        let (_, head) = ask(addr, "GET /rejects/1", "user: a\r\n").await;
        assert_eq!(head.status_line, "HTTP/1.1 403 Forbidden", "{layout}");
        try_connect(addr, "user: c\r\n").await.unwrap_err();
        // A slot that has been taken over is released once the last stream to hold it has ended.
        drop(last);
        generators.until_alive(1).await;
        let _third = try_connect(addr, "user: c\r\n").await.unwrap();
        try_connect(addr, "user: a\r\n").await.unwrap_err();
    }
}

/// A page that is reloaded many times in quick succession needs only one slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_streams_of_a_key_share_slots() {
    const CLIENTS: usize = 60;
    let (app, shared, _happen) = app();
    let generators = shared.generators.clone();
    let [newest, total] = newest_and_total(3);
    let app = app.layer(newest).layer(total).with_state(shared);
    let addr = serve(app).await;
    for _ in 0..5 {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(ask(addr, "GET /events", USER));
        }
        let mut accepted = Vec::new();
        while let Some(answered) = clients.join_next().await {
            let (client, head) = answered.unwrap();
            // The other streams were superseded before their response started.
            match head.status_line.as_str() {
                "HTTP/1.1 200 OK" => accepted.push(client),
                other => assert_eq!(other, "HTTP/1.1 409 Conflict"),
            }
        }
        generators.until_alive(1).await;
        // The slots are released a moment after the generators have been dropped, so retry until a
        // slot is free.
        let mut others = Vec::new();
        for user in ["user: b\r\n", "user: c\r\n"] {
            let connects = async {
                loop {
                    if let Ok(client) = try_connect(addr, user).await {
                        return client;
                    }
                }
            };
            others.push(within("a free slot", connects).await);
        }
        try_connect(addr, "user: d\r\n").await.unwrap_err();
        drop((accepted, others));
        generators.until_alive(0).await;
    }
}

/// Several streams with the same key may start at the same time. Each of them takes over the slots
/// of a different old stream.
#[tokio::test]
async fn pending_streams_take_over_different_slots() {
    let (_, shared, happen) = app();
    let generators = shared.generators.clone();
    let newest = StreamLimit::per_key(2, |request| request.headers.get("user").cloned());
    let app = Router::new().sse(events).sse(prepares);
    let app = app.layer(newest.newest_wins()).layer(StreamLimit::new(2));
    let addr = serve(app.with_state(shared)).await;
    let mut old = Vec::new();
    for _ in 0..2 {
        old.push(try_connect(addr, USER).await.unwrap());
    }
    let request = format!("GET /prepares HTTP/1.1\r\nhost: test\r\n{USER}\r\n");
    let mut new = Vec::new();
    for number in 3..=4 {
        let mut prepares = Client::connect(addr).await;
        prepares.send(request.as_bytes()).await;
        generators.until_started(number).await;
        new.push(prepares);
    }
    happen.send(1).unwrap();
    for prepares in &mut new {
        assert_eq!(prepares.head().await.status_line, "HTTP/1.1 200 OK");
    }
    for old in &mut old {
        old.read_to("superseded").await;
    }
    generators.until_alive(0).await;
    // Exactly two slots are free again.
    let _first = try_connect(addr, "user: b\r\n").await.unwrap();
    let _second = try_connect(addr, "user: c\r\n").await.unwrap();
    try_connect(addr, "user: d\r\n").await.unwrap_err();
}

/// A stream that holds no slot of a limit cannot hand over a slot of that limit.
#[tokio::test]
async fn slot_of_another_limit_is_not_taken_over() {
    let (_, shared, _happen) = app();
    let [newest, total] = newest_and_total(1);
    let app = Router::new()
        .sse(events().layer(total))
        .sse(others)
        .layer(newest);
    let addr = serve(app.with_state(shared)).await;
    let (mut stays, head) = ask(addr, "GET /others", USER).await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(stays.expect_chunk().await, "data: 0\n\n");
    let other = try_connect(addr, "user: b\r\n").await.unwrap();
    try_connect(addr, USER).await.unwrap_err();
    drop(other);
    // After the rejection, the existing stream is still the user's newest stream, so the next
    // stream supersedes it.
    let (_newer, head) = ask(addr, "GET /others", USER).await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    stays.read_to("superseded").await;
}
