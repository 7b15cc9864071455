//! Limits on open streams, and the responses to rejected requests.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod newest_wins;

use std::{collections::BTreeSet, future::pending, net::SocketAddr};

use axum::{Router, extract::State, http::StatusCode};
use sse_runtime::{Stream, StreamLimit, sse_endpoint};
use support::{Client, Generators, Head, SseRouterExt as _, serve, server_of, within};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
};

#[derive(Clone)]
struct Shared {
    generators: Generators,
    events: watch::Receiver<u32>,
}

/// Yields the events that the test sends.
#[sse_endpoint("/events")]
async fn events(State(shared): State<Shared>) -> impl Stream<Item = u32> {
    let _running = shared.generators.enter();
    let mut events = shared.events;
    events.mark_unchanged();
    yield_!(0);
    while events.changed().await.is_ok() {
        let event = *events.borrow_and_update();
        yield_!(event);
    }
}

#[sse_endpoint("/others")]
async fn others(State(shared): State<Shared>) -> impl Stream<Item = u32> {
    let _running = shared.generators.enter();
    yield_!(0);
    pending::<()>().await;
}

/// Returns an error, finishes or panics.
#[sse_endpoint("/rejects/{how}")]
async fn rejects(
    axum::extract::Path(how): axum::extract::Path<u32>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    if how == 1 {
        return Err(StatusCode::FORBIDDEN);
    }
    if how == 2 {
        panic!("on purpose");
    }
    yield_!(0);
}

/// Waits for the next event before starting its response.
#[sse_endpoint("/prepares")]
async fn prepares(State(shared): State<Shared>) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = shared.generators.enter();
    let mut events = shared.events;
    events.mark_unchanged();
    if events.changed().await.is_err() {
        return Err(StatusCode::GONE);
    }
    yield_!(0);
}

/// Yields more than the client reads.
#[sse_endpoint("/floods")]
async fn floods(State(shared): State<Shared>) -> impl Stream<Item = String> {
    let _running = shared.generators.enter();
    loop {
        yield_!("x".repeat(1_000));
    }
}

fn app() -> (Router<Shared>, Shared, watch::Sender<u32>) {
    let (happen, events_of) = watch::channel(0);
    let shared = Shared {
        generators: Generators::new(),
        events: events_of,
    };
    (Router::new().sse(events).sse(rejects), shared, happen)
}

async fn ask(addr: SocketAddr, request_line: &str, headers: &str) -> (Client, Head) {
    let mut client = Client::connect(addr).await;
    let request = format!("{request_line} HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    client.send(request.as_bytes()).await;
    let head = client.head().await;
    (client, head)
}

/// The request headers that identify a browser's `EventSource`.
const EVENT_SOURCE: &str = "accept: text/event-stream\r\ncache-control: no-cache\r\n";

/// A rejection, with the time after which the client may reconnect, in milliseconds (`Retry`) or
/// seconds (`RetryAfter`).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rejected {
    Retry(u64),
    RetryAfter(u64),
}

/// Requests `/events`, and returns either the accepted client or the rejection.
async fn try_connect(addr: SocketAddr, headers: &str) -> Result<Client, Rejected> {
    let (mut client, head) = ask(addr, "GET /events", headers).await;
    match head.status_line.as_str() {
        "HTTP/1.1 200 OK" if head.get("transfer-encoding").is_some() => {
            assert_eq!(client.expect_chunk().await, "data: 0\n\n");
            Ok(client)
        }
        "HTTP/1.1 200 OK" => {
            assert_eq!(
                head.get("content-type"),
                Some("text/event-stream; charset=utf-8")
            );
            let frame = client.read_to("\n\n").await;
            let retry = frame
                .strip_prefix("event: close\nretry: ")
                .and_then(|rest| rest.strip_suffix("\ndata: {\"reason\":\"too_many_streams\"}\n\n"))
                .unwrap_or_else(|| panic!("{frame:?}"));
            Err(Rejected::Retry(retry.parse().unwrap()))
        }
        "HTTP/1.1 503 Service Unavailable" | "HTTP/1.1 429 Too Many Requests" => {
            let after = head.get("retry-after").unwrap();
            Err(Rejected::RetryAfter(after.parse().unwrap()))
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_storm_fills_the_limit_exactly() {
    const CLIENTS: usize = 5_000;
    const SLOTS: usize = 700;
    rlimit::increase_nofile_limit(20_000).unwrap();
    let (app, shared, happen) = app();
    let generators = shared.generators.clone();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener: TcpListener = socket.listen(8_192).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = server_of(app.with_state(shared)).max_streams(SLOTS);
    tokio::spawn(server.serve(listener));

    for storm in 1..=2 {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let headers = [EVENT_SOURCE, ""][number % 2];
            clients.spawn(try_connect(addr, headers));
        }
        let all = clients.join_all().await;
        let (accepted, rejected): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!(accepted.len(), SLOTS, "in storm {storm}");
        assert_eq!(generators.count().alive, SLOTS);
        let rejected: Vec<_> = rejected.into_iter().filter_map(Result::err).collect();
        let in_browsers = rejected
            .iter()
            .filter(|rejected| matches!(rejected, Rejected::Retry(5_000..15_000)))
            .count();
        let elsewhere = rejected
            .iter()
            .filter(|rejected| matches!(rejected, Rejected::RetryAfter(5..15)))
            .count();
        assert_eq!(in_browsers + elsewhere, CLIENTS - SLOTS, "{rejected:?}");
        // Half of the clients are browsers, and at most `SLOTS` clients of either kind were
        // accepted, so the remaining clients of each kind must have been rejected.
        assert!(in_browsers >= CLIENTS / 2 - SLOTS && elsewhere >= CLIENTS / 2 - SLOTS);
        let moments: BTreeSet<_> = rejected.iter().collect();
        assert!(
            moments.len() > 1_000,
            "the clients would reconnect at the same time"
        );

        // Each accepted stream receives an event, so no stream was closed to make room for another.
        happen.send(storm).unwrap();
        for client in accepted {
            let mut client = client.unwrap();
            assert_eq!(client.expect_chunk().await, format!("data: {storm}\n\n"));
        }
        within("the slots to be released", generators.until_alive(0)).await;
    }
}

#[tokio::test]
async fn other_responses_need_no_permit() {
    let (app, shared, _happen) = app();
    let app = app.layer(StreamLimit::new(1)).with_state(shared);
    let addr = serve(app).await;
    for _ in 0..3 {
        let (_, head) = ask(addr, "GET /rejects/1", "").await;
        assert_eq!(head.status_line, "HTTP/1.1 403 Forbidden");
        // The argument does not parse.
        let (_, head) = ask(addr, "GET /rejects/x", "").await;
        assert_eq!(head.status_line, "HTTP/1.1 400 Bad Request");
        let (_, head) = ask(addr, "HEAD /events", "").await;
        assert_eq!(head.status_line, "HTTP/1.1 200 OK");
        let panics = Client::get(addr, "/rejects/2").await;
        assert_eq!(panics.rest().await, "", "the connection should be cut off");
        let (mut finishes, _) = ask(addr, "GET /rejects/0", "").await;
        assert_eq!(finishes.expect_chunk().await, "data: 0\n\n");
        assert_eq!(finishes.chunk().await, Ok(None));
    }
    let _accepted = try_connect(addr, "").await.unwrap();
    try_connect(addr, "").await.unwrap_err();
}

/// The code that precedes the response also runs for `HEAD` requests, so a `HEAD` request holds a
/// permit while that code runs.
#[tokio::test]
async fn head_request_holds_a_permit_until_its_response() {
    const SLOTS: usize = 5;
    const CLIENTS: usize = 100;
    let (_, shared, happen) = app();
    let generators = shared.generators.clone();
    let app = Router::new().sse(prepares).layer(StreamLimit::new(SLOTS));
    let addr = serve(app.with_state(shared)).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move { ask(addr, "HEAD /prepares", "").await.1.status_line });
    }
    for _ in SLOTS..CLIENTS {
        let rejected = within("a client to be rejected", clients.join_next()).await;
        assert_eq!(
            rejected.unwrap().unwrap(),
            "HTTP/1.1 503 Service Unavailable"
        );
    }
    assert_eq!(generators.count().started, SLOTS);
    happen.send(1).unwrap();
    while let Some(answered) = clients.join_next().await {
        assert_eq!(answered.unwrap(), "HTTP/1.1 200 OK");
    }
    // The permits are free again.
    generators.until_alive(0).await;
    let _waits = Client::get(addr, "/prepares").await;
    generators.until_started(SLOTS + 1).await;
}

/// A client other than an `EventSource` would mistake a `200` response for success.
#[tokio::test]
async fn rejection_is_200_only_for_an_event_source() {
    let (app, shared, _happen) = app();
    let limit = StreamLimit::new(1);
    let own = limit
        .clone()
        .reject_with(|exceeded| (StatusCode::IM_A_TEAPOT, format!("{:?}", exceeded.status())));
    let app = app.layer(limit).with_state(shared.clone());
    let own = Router::new().sse(events).layer(own).with_state(shared);
    let addr = serve(app.nest("/own", own)).await;
    let _accepted = try_connect(addr, "").await.unwrap();
    for headers in [
        "accept: text/event-stream\r\n",
        "accept: text/event-stream\r\ncache-control: no-store\r\n",
        "accept: text/event-stream, */*\r\ncache-control: no-cache\r\n",
        "cache-control: no-cache\r\n",
    ] {
        let (client, head) = ask(addr, "GET /events", headers).await;
        assert_eq!(head.status_line, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(head.get("content-type"), Some("application/problem+json"));
        let length: usize = head.get("content-length").unwrap().parse().unwrap();
        let mut client = client;
        let problem: serde_json::Value =
            serde_json::from_slice(&client.take(length).await).unwrap();
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["code"], "too_many_streams");

        let (_, head) = ask(addr, "GET /own/events", headers).await;
        assert_eq!(head.status_line, "HTTP/1.1 418 I'm a teapot");
    }
    for path in ["/events", "/own/events"] {
        let (_, head) = ask(addr, &format!("GET {path}"), EVENT_SOURCE).await;
        assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn endpoint_limit_counts_only_its_endpoint() {
    let (_, shared, _happen) = app();
    let limited = Router::new()
        .sse(events().layer(StreamLimit::new(1)))
        .sse(others);
    let addr = serve(limited.with_state(shared)).await;
    let _accepted = try_connect(addr, "").await.unwrap();
    try_connect(addr, "").await.unwrap_err();
    let (_, head) = ask(addr, "GET /others", "").await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn each_key_has_its_own_limit() {
    let (app, shared, _happen) = app();
    let generators = shared.generators.clone();
    let per_user = StreamLimit::per_key(2, |request| request.headers.get("user").cloned());
    let app = app.layer(per_user).with_state(shared);
    let addr = serve(app).await;
    let of = |user: &str| format!("user: {user}\r\n");
    let first = try_connect(addr, &of("a")).await.unwrap();
    let _second = try_connect(addr, &of("a")).await.unwrap();
    let (_, head) = ask(addr, "GET /events", &of("a")).await;
    assert_eq!(head.status_line, "HTTP/1.1 429 Too Many Requests");
    assert!(head.get("retry-after").is_some());
    let in_browser = format!("{EVENT_SOURCE}{}", of("a"));
    let rejected = try_connect(addr, &in_browser).await.unwrap_err();
    assert!(matches!(rejected, Rejected::Retry(_)), "{rejected:?}");
    // The limit reached by user `a` affects neither other users nor requests without a user.
    let _other = try_connect(addr, &of("b")).await.unwrap();
    let _nobody = try_connect(addr, "").await.unwrap();
    drop(first);
    generators.until_alive(3).await;
    let _third = try_connect(addr, &of("a")).await.unwrap();
}

#[tokio::test]
async fn stream_takes_one_permit_of_a_limit_applied_twice() {
    let (app, shared, _happen) = app();
    let limit = StreamLimit::new(1);
    let app = app.layer(limit.clone()).layer(limit).with_state(shared);
    let addr = serve(app).await;
    let _accepted = try_connect(addr, "").await.unwrap();
    try_connect(addr, "").await.unwrap_err();
}

#[tokio::test]
async fn each_address_has_its_own_limit() {
    let (app, shared, _happen) = app();
    let addr = serve(app.layer(StreamLimit::per_peer(1)).with_state(shared)).await;
    let _accepted = try_connect(addr, "").await.unwrap();
    try_connect(addr, "").await.unwrap_err();
    // The loopback interface has more than one address.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let mut neighbour = Client::over(socket.connect(addr).await.unwrap());
    neighbour
        .send(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    neighbour.head().await;
    assert_eq!(neighbour.expect_chunk().await, "data: 0\n\n");
}

#[tokio::test]
async fn rejection_by_one_limit_frees_the_other_permits() {
    let (app, shared, _happen) = app();
    let per_user = StreamLimit::per_key(1, |request| request.headers.get("user").cloned());
    // When the inner limit rejects a request, the outer limit has already issued a permit, which
    // must be released.
    let app = app
        .layer(per_user)
        .layer(StreamLimit::new(2))
        .with_state(shared);
    let addr = serve(app).await;
    let _accepted = try_connect(addr, "user: a\r\n").await.unwrap();
    for _ in 0..5 {
        try_connect(addr, "user: a\r\n").await.unwrap_err();
    }
    let _other = try_connect(addr, "user: b\r\n").await.unwrap();
}

/// A success status in a custom response is replaced with `503` or `429`.
#[tokio::test]
async fn custom_response_over_the_limit_is_not_a_success() {
    let (app, shared, _happen) = app();
    let limit = StreamLimit::new(0);
    let of_key = StreamLimit::per_key(0, |_| Some(()));
    let json = |_| axum::Json("try again later");
    let own = |_| {
        let headers = [("retry-after", "120")];
        (StatusCode::CONFLICT, headers, "later")
    };
    let app = Router::new()
        .nest("/total", app.clone().layer(limit.clone().reject_with(json)))
        .nest("/key", app.clone().layer(of_key.reject_with(json)))
        .nest("/own", app.layer(limit.reject_with(own)));
    let addr = serve(app.with_state(shared)).await;
    for (path, status) in [
        ("/total", "HTTP/1.1 503 Service Unavailable"),
        ("/key", "HTTP/1.1 429 Too Many Requests"),
    ] {
        let (mut client, head) = ask(addr, &format!("GET {path}/events"), "").await;
        assert_eq!(head.status_line, status);
        let after: u64 = head.get("retry-after").unwrap().parse().unwrap();
        assert!((5..15).contains(&after), "{after}");
        assert_eq!(head.get("content-type"), Some("application/json"));
        client.read_to("\"try again later\"").await;
    }
    // If the custom response has an error status, the response is passed through unchanged.
    let (_, head) = ask(addr, "GET /own/events", "").await;
    assert_eq!(head.status_line, "HTTP/1.1 409 Conflict");
    assert_eq!(head.get("retry-after"), Some("120"));
}
