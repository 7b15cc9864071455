//! A generator does not outlive its client: it is dropped where it waits, with all that it holds.

use std::{
    future::{pending, ready},
    net::SocketAddr,
    sync::mpsc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
};
use sse_runtime::{RouterExt as _, Stream, sse_endpoint};
use tokio::sync::watch;

use support::{BrokenOff, Client, Count, Generators, log::Log, serve, serve_plain, within};

#[sse_endpoint("/get")]
async fn get_and_wait(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[sse_endpoint("/bytes", method = POST)]
async fn post_bytes(
    State(generators): State<Generators>,
    body: Bytes,
) -> impl Stream<Item = usize> {
    let _running = generators.enter();
    yield_!(body.len());
    pending::<()>().await;
}

#[sse_endpoint("/json", method = POST)]
async fn post_json(
    State(generators): State<Generators>,
    Json(body): Json<Vec<u32>>,
) -> impl Stream<Item = Vec<u32>> {
    let _running = generators.enter();
    yield_!(body);
    pending::<()>().await;
}

/// Leaves the body alone.
#[sse_endpoint("/unread", method = POST)]
async fn post_unread(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// Gives the body back unread, and waits for something else before the response begins.
#[sse_endpoint("/given-back", method = POST)]
async fn post_given_back(
    State(generators): State<Generators>,
    body: Body,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    tokio::task::yield_now().await;
    drop(body);
    pending::<()>().await;
    yield_!(1);
}

const BURST: usize = 300;

/// Leaves the body alone, and ends.
#[sse_endpoint("/burst", method = POST)]
async fn post_burst() -> impl Stream<Item = String> {
    for _ in 0..BURST {
        yield_!("x".repeat(1000));
    }
}

/// Waits before the response begins.
#[sse_endpoint("/before", method = POST)]
async fn post_before(
    State(generators): State<Generators>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

#[sse_endpoint("/get-before")]
async fn get_before(
    State(generators): State<Generators>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

/// Never waits, and yields nothing: it would when it had been dropped.
#[sse_endpoint("/hot")]
async fn hot(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    loop {
        ready(()).await;
        if generators.count().alive == 0 {
            yield_!(1);
        }
    }
}

/// Endpoints that wait for ever, and the count of their generators.
fn app() -> (Router, Generators) {
    let generators = Generators::new();
    let app = Router::new()
        .sse(get_and_wait)
        .sse(post_bytes)
        .sse(post_json)
        .sse(post_unread)
        .sse(post_given_back)
        .sse(post_burst)
        .sse(post_before)
        .sse(get_before)
        .sse(hot)
        .with_state(generators.clone());
    (app, generators)
}

/// That the generator is dropped when a client that has its event goes away. It has read all that it was sent, so its
/// system closes the connection in good order, with a FIN.
async fn leave_in_the_stream(mut client: Client, generators: &Generators) {
    client.head().await;
    client.expect_chunk().await;
    assert_eq!(
        generators.count(),
        Count {
            started: 1,
            alive: 1
        }
    );
    drop(client);
    generators.until_alive(0).await;
}

/// That the generator is dropped when a client goes away that has not read anything. Where something was sent, its
/// system answers with an RST.
async fn leave_unread(client: Client, generators: &Generators) {
    generators.until_started(1).await;
    assert_eq!(generators.count().alive, 1);
    drop(client);
    generators.until_alive(0).await;
}

#[tokio::test]
async fn get() {
    let (app, generators) = app();
    let addr = serve(app).await;
    leave_in_the_stream(Client::get(addr, "/get").await, &generators).await;
}

#[tokio::test]
async fn get_with_a_reset() {
    let (app, generators) = app();
    let addr = serve(app).await;
    leave_unread(Client::get(addr, "/get").await, &generators).await;
}

#[tokio::test]
async fn get_before_the_response() {
    let (app, generators) = app();
    let addr = serve(app).await;
    leave_unread(Client::get(addr, "/get-before").await, &generators).await;
}

#[tokio::test]
async fn post_with_the_body_as_bytes() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/bytes", 10, b"0123456789").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_with_the_body_as_json() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/json", 7, b"[1,2,3]").await;
    leave_in_the_stream(client, &generators).await;
}

// hyper does not look for the end of a connection while a request body is in the way, so the next ones need the
// framework's help (field.md, finding 2).

#[tokio::test]
async fn post_with_a_small_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/unread", 10, b"0123456789").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_with_a_body_that_comes_after_the_head_of_the_response() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::post(addr, "/unread", 10, b"").await;
    client.head().await;
    client.send(b"0123456789").await;
    client.expect_chunk().await;
    drop(client);
    generators.until_alive(0).await;
}

#[tokio::test]
async fn post_with_a_large_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let body = vec![b'x'; 3 * 1024 * 1024];
    let client = Client::post(addr, "/unread", body.len(), &body).await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_with_half_of_a_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/unread", 10, b"01234").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_with_a_chunked_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_before_the_response_with_a_small_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/before", 10, b"0123456789").await;
    leave_unread(client, &generators).await;
}

#[tokio::test]
async fn post_before_the_response_with_a_large_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let body = vec![b'x'; 3 * 1024 * 1024];
    let client = Client::post(addr, "/before", body.len(), &body).await;
    leave_unread(client, &generators).await;
}

#[tokio::test]
async fn post_with_a_body_that_was_given_back_unread() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let body = vec![b'x'; 300 * 1024];
    let client = Client::post(addr, "/given-back", body.len(), &body).await;
    leave_unread(client, &generators).await;
}

/// A socket that is closed with something left to read resets the connection, and what the client has not read is gone.
#[tokio::test]
async fn the_last_events_reach_a_client_that_is_still_uploading() {
    let (app, _) = app();
    let addr = serve(app).await;
    let (piece, pieces) = (vec![b'x'; 64 * 1024], 16);
    let mut client = Client::post(addr, "/burst", pieces * piece.len(), b"").await;
    client.head().await;
    for _ in 0..pieces {
        client.send(&piece).await;
    }
    for _ in 0..BURST {
        client.expect_chunk().await;
    }
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn post_before_the_response_with_half_of_a_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/before", 10, b"01234").await;
    leave_unread(client, &generators).await;
}

/// Not a chunk's size.
const BAD_FRAMING: &[u8] = b"transfer-encoding: chunked\r\n\r\nnonsense\r\n";

#[tokio::test]
async fn post_with_a_bad_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\n")
        .await;
    client.send(BAD_FRAMING).await;
    // hyper cannot go on reading, and would never see this client leave, so it is the server that ends this.
    let response = client.rest().await;
    assert!(!response.ends_with("0\r\n\r\n"), "{response}");
    generators.until_alive(0).await;
}

#[tokio::test]
async fn post_before_the_response_with_a_bad_body_that_nobody_read() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /before HTTP/1.1\r\nhost: test\r\n")
        .await;
    client.send(BAD_FRAMING).await;
    assert_eq!(client.head().await.status_line, "HTTP/1.1 400 Bad Request");
    generators.until_alive(0).await;
}

#[tokio::test]
async fn get_under_axum_serve() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    leave_in_the_stream(Client::get(addr, "/get").await, &generators).await;
}

#[tokio::test]
async fn post_with_a_body_that_nobody_read_under_axum_serve() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    let client = Client::post(addr, "/unread", 10, b"0123456789").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_with_half_of_a_body_that_nobody_read_under_axum_serve() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    let client = Client::post(addr, "/unread", 10, b"01234").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_before_the_response_under_axum_serve() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    let client = Client::post(addr, "/before", 10, b"0123456789").await;
    leave_unread(client, &generators).await;
}

#[test]
fn a_generator_that_never_waits_stops_and_lets_other_tasks_run() {
    // On a thread of its own: a generator that keeps the runtime to itself must fail the test, not hang it.
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (app, generators) = app();
            let addr = serve(app).await;
            let mut client = Client::get(addr, "/hot").await;
            client.head().await;
            generators.until_started(1).await;

            let other = tokio::spawn(async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            });
            within("another task of the thread", other).await.unwrap();
            assert_eq!(generators.count().alive, 1);

            drop(client);
            generators.until_alive(0).await;
        });
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(20))
        .expect("the generator kept the thread to itself, or the test failed there");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ten_thousand_clients_no_generator_is_left() {
    const WAVE: usize = 200;
    const ALL: usize = 10_000;

    let (app, generators) = app();
    let addr = serve(app).await;
    for started in (WAVE..=ALL).step_by(WAVE) {
        let mut clients = tokio::task::JoinSet::new();
        for at in 0..WAVE {
            clients.spawn(leaver(addr, at));
        }
        let clients = clients.join_all().await;
        generators.until_started(started).await;
        // All at once, while the generators of the next wave start.
        drop(clients);
    }
    generators.until_alive(0).await;
    assert_eq!(
        generators.count(),
        Count {
            started: ALL,
            alive: 0
        }
    );
}

/// A client that leaves in one of the ways there are, when it is dropped.
async fn leaver(addr: SocketAddr, at: usize) -> Client {
    match at % 4 {
        0 => Client::get(addr, "/get").await,
        1 => {
            let mut client = Client::get(addr, "/get").await;
            client.head().await;
            client.expect_chunk().await;
            client
        }
        2 => Client::post(addr, "/unread", 10, b"01234").await,
        _ => Client::get(addr, "/get-before").await,
    }
}

#[sse_endpoint("/panics")]
async fn panics(State(events): State<watch::Receiver<u32>>) -> impl Stream<Item = u32> {
    let mut events = events;
    yield_!(0);
    events.changed().await.unwrap();
    panic!("on purpose");
}

#[sse_endpoint("/goes-on")]
async fn goes_on(State(events): State<watch::Receiver<u32>>) -> impl Stream<Item = u32> {
    let mut events = events;
    yield_!(0);
    while events.changed().await.is_ok() {
        let event = *events.borrow_and_update();
        yield_!(event);
    }
}

#[tokio::test]
async fn a_panic_breaks_its_own_stream_off_and_no_other() {
    // On this thread, where the server runs too.
    let log = Log::capture();
    let (events, receiver) = watch::channel(0);
    let app = Router::new().sse(panics).sse(goes_on).with_state(receiver);
    let addr = serve(app).await;

    let mut panicked = Client::get(addr, "/panics").await;
    let mut other = Client::get(addr, "/goes-on").await;
    for client in [&mut panicked, &mut other] {
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: 0\n\n");
    }

    events.send(1).unwrap();
    // No last chunk: this is not the end, and a client can tell.
    assert_eq!(panicked.chunk().await, Err(BrokenOff));
    assert_eq!(other.expect_chunk().await, "data: 1\n\n");
    events.send(2).unwrap();
    assert_eq!(other.expect_chunk().await, "data: 2\n\n");

    let mut new = Client::get(addr, "/goes-on").await;
    assert_eq!(new.head().await.status_line, "HTTP/1.1 200 OK");
    assert_eq!(new.expect_chunk().await, "data: 0\n\n");

    let log = log.text();
    let line = log
        .lines()
        .find(|line| line.contains("ERROR"))
        .unwrap_or_default();
    assert!(
        line.contains(r#"endpoint="panics""#) && line.contains("panicked"),
        "{log:?}"
    );
}
