//! Streams that are driven on their socket, without hyper, and what stands before and behind them on the connection.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    io::Read as _,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse as _, Response, sse},
    routing::get,
};
use http_body::Frame;
use hyper_util::rt::TokioIo;
use sse_runtime::{
    Connection, RouterExt as _, Server, Shutdown, Start, Stream, Text, Topic, sse_endpoint,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::{Notify, watch},
};
use tokio_stream::StreamExt as _;
use tower_service::Service as _;
use tracing::span;
use tracing_subscriber::{
    layer::{self, Layer, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use support::{BrokenOff, Client, Generators, serve_as, soon};

#[sse_endpoint("/two")]
async fn two() -> impl Stream<Item = u32> {
    yield_!(1);
    tokio::task::yield_now().await;
    yield_!(2);
}

const TWO: &str = "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n";

/// What was posted, then the end.
#[sse_endpoint("/posted", method = POST)]
async fn posted(body: String) -> impl Stream<Item = Text<String>> {
    yield_!(Text(body));
}

/// Leaves the body alone.
#[sse_endpoint("/unread", method = POST)]
async fn unread() -> impl Stream<Item = u32> {
    yield_!(1);
}

async fn page(Path(bytes): Path<usize>) -> String {
    "x".repeat(bytes)
}

/// Speaks whatever is not HTTP, and says all back.
async fn upgrade(mut request: Request) -> Response {
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut upgraded = TokioIo::new(upgrading.await.unwrap());
        let mut said = [0; 5];
        upgraded.read_exact(&mut said).await.unwrap();
        upgraded.write_all(&said).await.unwrap();
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn app() -> Router {
    Router::new()
        .sse(two)
        .sse(posted)
        .sse(unread)
        .route("/page/{bytes}", get(page))
        .route("/upgrade", get(upgrade))
}

/// A server of `app` that takes over.
async fn serve(app: Router) -> SocketAddr {
    serve_as(Server::new(app).takeover(true)).await
}

fn ask(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

/// The page that [`page`] answers, next on the connection.
async fn expect_page(client: &mut Client, bytes: usize) {
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(head.get("content-length"), Some(bytes.to_string().as_str()));
    assert!(client.take(bytes).await.iter().all(|byte| *byte == b'x'));
}

/// The stream of [`two`], next on the connection.
async fn expect_two(client: &mut Client) {
    let head = client.head().await;
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn what_is_asked_behind_a_stream_is_answered_behind_it() {
    let mut client = Client::connect(serve(app()).await).await;
    let requests = [
        ask("/page/10"),
        ask("/two"),
        ask("/page/20"),
        ask("/two"),
        ask("/two"),
        ask("/page/30"),
    ];
    client.send(requests.concat().as_bytes()).await;
    expect_page(&mut client, 10).await;
    expect_two(&mut client).await;
    expect_page(&mut client, 20).await;
    expect_two(&mut client).await;
    expect_two(&mut client).await;
    expect_page(&mut client, 30).await;
    // And when nothing is left of them.
    client.send(ask("/two").as_bytes()).await;
    expect_two(&mut client).await;
}

/// hyper is taken apart when the answers before are with the kernel: it does not promise it.
#[tokio::test]
async fn nothing_is_lost_of_what_hyper_answered_before_a_stream() {
    let addr = serve(app()).await;
    for bytes in [1_000, 3_000_000, 8_000_000] {
        let mut client = Client::connect_narrow(addr).await;
        let page = format!("/page/{bytes}");
        let requests = [ask(&page), ask("/page/1"), ask("/two"), ask("/page/2")];
        client.send(requests.concat().as_bytes()).await;
        expect_page(&mut client, bytes).await;
        expect_page(&mut client, 1).await;
        expect_two(&mut client).await;
        expect_page(&mut client, 2).await;
    }
}

/// hyper may ask once more for the answer that was taken out of its hands, in the turn in which it was taken: it does so
/// where the response before ended between two looks at its body.
#[tokio::test]
async fn an_answer_that_was_taken_is_asked_for_once() {
    async fn ends_late() -> Body {
        Body::new(EndsLate {
            data: Some("x"),
            has_waited: false,
        })
    }
    let app = app().route("/ends-late", get(ends_late));
    let mut client = Client::connect(serve(app).await).await;
    for _ in 0..2 {
        client.send(ask("/ends-late").as_bytes()).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "x");
        assert_eq!(client.chunk().await, Ok(None));
        client.send(ask("/two").as_bytes()).await;
        expect_two(&mut client).await;
    }
    client
        .send((ask("/ends-late") + &ask("/two")).as_bytes())
        .await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "x");
    assert_eq!(client.chunk().await, Ok(None));
    expect_two(&mut client).await;
}

/// A request that arrives in two pieces, the second while the stream before it runs.
#[tokio::test]
async fn half_a_request_behind_a_stream_is_not_torn() {
    #[sse_endpoint("/until")]
    async fn until(State(over): State<watch::Receiver<bool>>) -> impl Stream<Item = u32> {
        let mut over = over;
        yield_!(1);
        let _ = over.wait_for(|over| *over).await;
    }
    let (over, receiver) = watch::channel(false);
    let app = Router::new()
        .sse(until)
        .route("/page/{bytes}", get(page))
        .with_state(receiver);
    let mut client = Client::connect(serve(app).await).await;
    let next = ask("/page/5");
    let (first, second) = next.split_at(7);
    client.send((ask("/until") + first).as_bytes()).await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    client.send(second.as_bytes()).await;
    over.send(true).unwrap();
    assert_eq!(client.chunk().await, Ok(None));
    expect_page(&mut client, 5).await;
}

#[tokio::test]
async fn a_body_that_was_read_is_over_when_its_stream_begins() {
    let mut client = Client::connect(serve(app()).await).await;
    let head = "POST /posted HTTP/1.1\r\nhost: test\r\n";
    for framed in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let requests = [head, framed, &ask("/two"), head, framed];
        client.send(requests.concat().as_bytes()).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: hello\n\n");
        assert_eq!(client.chunk().await, Ok(None));
        expect_two(&mut client).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: hello\n\n");
        assert_eq!(client.chunk().await, Ok(None));
    }
    // One that is left alone is not taken for the next request.
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    client.send(b"GET /page/1").await;
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told_so() {
    let mut client = Client::connect(serve(app()).await).await;
    for _ in 0..2 {
        client
            .send(b"POST /posted HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
            .await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 100 Continue");
        client.send(b"hello").await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 200 OK");
        assert_eq!(client.expect_chunk().await, "data: hello\n\n");
        assert_eq!(client.chunk().await, Ok(None));
    }
}

#[tokio::test]
async fn head_has_no_body_before_a_stream_nor_behind_it() {
    let mut client = Client::connect(serve(app()).await).await;
    let head = "HEAD /two HTTP/1.1\r\nhost: test\r\n\r\n";
    let requests = [head, &ask("/two"), head, &ask("/two")];
    client.send(requests.concat().as_bytes()).await;
    for _ in 0..2 {
        let head = client.head().await;
        assert_eq!(
            head.get("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        expect_two(&mut client).await;
    }
}

#[tokio::test]
async fn a_connection_can_be_upgraded_behind_a_stream() {
    let mut client = Client::connect(serve(app()).await).await;
    let upgrade =
        "GET /upgrade HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello";
    client.send((ask("/two") + upgrade).as_bytes()).await;
    expect_two(&mut client).await;
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.rest().await, "hello");
}

/// One that asks for an upgrade, and gets a stream.
#[tokio::test]
async fn a_stream_for_who_wants_to_be_upgraded() {
    let mut client = Client::connect(serve(app()).await).await;
    let request = "GET /two HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    client.send(request.repeat(2).as_bytes()).await;
    expect_two(&mut client).await;
    expect_two(&mut client).await;
}

/// The head, line by line, but for the value of its date; and its date.
async fn lines(addr: SocketAddr, request: &str) -> (Vec<String>, String) {
    let mut client = Client::connect(addr).await;
    client.send(request.as_bytes()).await;
    let head = client.read_to("\r\n\r\n").await;
    let (head, _) = head.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
    let date = lines.iter().position(|line| line.starts_with("date: "));
    let date = lines.remove(date.unwrap());
    (lines, date)
}

/// Of two servers of the same app the one that does not take over shows what hyper makes of it.
#[tokio::test]
async fn the_head_is_what_hyper_would_write() {
    async fn marked(mut response: Response) -> Response {
        let headers = response.headers_mut();
        let set_cookie = header::SET_COOKIE;
        headers.append(set_cookie.clone(), HeaderValue::from_static("a=1"));
        headers.append(set_cookie, HeaderValue::from_static("b=2"));
        let name = HeaderName::from_static("x-note");
        headers.insert(name, HeaderValue::from_bytes("schön".as_bytes()).unwrap());
        response
    }
    async fn closing() -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CONNECTION, "close"),
        ];
        (headers, Body::new(Frames::of(&["a"]))).into_response()
    }
    let app = || {
        Router::new()
            .sse(two)
            .route("/closing", get(closing))
            .layer(map_response(marked))
    };
    let ours = serve(app()).await;
    let hypers = serve_as(Server::new(app()).takeover(false)).await;
    for request in [
        "GET /two HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET /two HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        "GET /two HTTP/1.0\r\nhost: test\r\n\r\n",
        "GET /two HTTP/1.0\r\nhost: test\r\nconnection: keep-alive\r\n\r\n",
        "GET /closing HTTP/1.1\r\nhost: test\r\n\r\n",
    ] {
        let (mut lines_of_ours, date) = lines(ours, request).await;
        let (mut lines_of_hypers, date_of_hypers) = lines(hypers, request).await;
        lines_of_ours.sort();
        lines_of_hypers.sort();
        assert_eq!(lines_of_ours, lines_of_hypers, "{request}");
        // Days of the week and months have three letters each: what differs is digits.
        let form = |date: &str| -> Vec<bool> { date.chars().map(|c| c.is_ascii_digit()).collect() };
        assert_eq!(form(&date), form(&date_of_hypers), "{date}");
        let day = |date: &str| date[.."date: Sun, 06 Nov 1994".len()].to_owned();
        assert_eq!(day(&date), day(&date_of_hypers), "the test ran at midnight");
    }
}

#[tokio::test]
async fn the_end_that_was_announced_comes() {
    let addr = serve(app()).await;
    for request in [
        "GET /two HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        "GET /two HTTP/1.0\r\n\r\n",
    ] {
        let mut client = Client::connect(addr).await;
        client.send(request.as_bytes()).await;
        let head = client.head().await;
        let rest = soon("the connection to end", client.rest()).await;
        let is_chunked = head.get("transfer-encoding").is_some();
        let body = if is_chunked {
            TWO
        } else {
            "data: 1\n\ndata: 2\n\n"
        };
        assert_eq!(rest, body);
    }
}

/// What was not read when a socket is closed makes the system send a reset, which destroys what the client has not read.
#[tokio::test]
async fn what_a_client_sends_too_much_does_not_cost_it_the_end_of_its_stream() {
    const EVENTS: usize = 300;
    #[sse_endpoint("/much")]
    async fn much() -> impl Stream<Item = Text<String>> {
        for _ in 0..EVENTS {
            yield_!(Text("x".repeat(1000)));
        }
    }
    let addr = serve(Router::new().sse(much)).await;
    let mut client = Client::connect_narrow(addr).await;
    client
        .send(b"GET /much HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await;
    client.head().await;
    for _ in 0..20 {
        client.send(&[b'x'; 10_000]).await;
        for _ in 0..10 {
            assert_eq!(client.expect_chunk().await.len(), 1008);
        }
    }
    // The server has come to the end long before the client has, which is no reason to stop talking.
    for _ in 200..EVENTS {
        client.send(b"and so on").await;
        assert_eq!(client.expect_chunk().await.len(), 1008);
    }
    assert_eq!(client.chunk().await, Ok(None));
}

/// Frames of a body that nobody of us made.
struct Frames(std::vec::IntoIter<Frame<Bytes>>);

impl Frames {
    fn of(data: &[&'static str]) -> Self {
        let frames = data
            .iter()
            .map(|data| Frame::data(Bytes::from_static(data.as_bytes())));
        Self(frames.collect::<Vec<_>>().into_iter())
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

/// Has to be asked twice for its end.
struct EndsLate {
    data: Option<&'static str>,
    has_waited: bool,
}

impl http_body::Body for EndsLate {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))));
        }
        if !std::mem::replace(&mut self.has_waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(None)
    }
}

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

#[sse_endpoint("/silent", keep_alive = "off")]
async fn silent(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// Nothing is written that would show that it has gone.
#[tokio::test]
async fn a_client_that_leaves_is_seen_however_much_it_has_sent_behind_its_request() {
    let generators = Generators::new();
    let app = Router::new().sse(silent).with_state(generators.clone());
    let addr = serve(app).await;
    for sent in [1_000_000, 9_000_000] {
        let mut client = Client::get(addr, "/silent").await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: 1\n\n");
        let (mut socket, _) = client.into_parts();
        // So much is too much, and breaks the stream off.
        let is_broken_off = socket.write_all(&vec![b'x'; sent]).await.is_err();
        assert!(sent > 1_000_000 || !is_broken_off);
        if sent == 1_000_000 {
            assert_eq!(generators.count().alive, 1);
            drop(socket);
        }
        generators.until_alive(0).await;
    }
}

/// What a generator holds may be what others wait for, and a socket takes its time to close.
#[tokio::test]
async fn of_many_who_leave_at_once_all_generators_end_before_a_socket_is_closed() {
    const MANY: usize = 100;
    let generators = Generators::new();
    let addr = serve(Router::new().sse(silent).with_state(generators.clone())).await;
    let mut clients = Vec::new();
    for _ in 0..MANY {
        let mut client = Client::get(addr, "/silent").await;
        client.head().await;
        client.expect_chunk().await;
        let socket = client.into_parts().0.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        clients.push(socket);
    }
    generators.until_started(MANY).await;

    // The server has this thread, so it sees none of them leave before all have.
    for client in &clients {
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let closed = clients.into_iter().map(|mut client| {
        let generators = generators.clone();
        tokio::task::spawn_blocking(move || {
            let rest = client.read(&mut [0; 64]).unwrap();
            (rest, generators.count().alive)
        })
    });
    let closed: Vec<_> = closed.collect();
    for closed in closed {
        assert_eq!(soon("a socket to be closed", closed).await.unwrap(), (0, 0));
    }
}

#[tokio::test]
async fn what_was_asked_too_far_behind_a_stream_is_not_answered() {
    #[sse_endpoint("/until")]
    async fn until(State(numbers): State<watch::Receiver<u32>>) -> impl Stream<Item = u32> {
        let mut numbers = numbers;
        for number in 1..=3 {
            let _ = numbers.wait_for(|last| *last >= number).await;
            yield_!(number);
        }
    }
    let (numbers, receiver) = watch::channel(1);
    let app = Router::new()
        .sse(until)
        .route("/page/{bytes}", get(page))
        .with_state(receiver);
    let mut client = Client::get(serve(app).await, "/until").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    client.send(ask("/page/5").repeat(20_000).as_bytes()).await;
    // When the second is there, the server's system has told of what was sent before it.
    numbers.send_replace(2);
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
    numbers.send_replace(3);
    assert_eq!(client.expect_chunk().await, "data: 3\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    assert_eq!(soon("the connection to end", client.rest()).await, "");
}

/// Its value cannot be sent.
#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = u32> {
    yield_!(1);
    tokio::task::yield_now().await;
    panic!("as the test has it");
}

#[tokio::test]
async fn a_stream_that_fails_is_broken_off_and_so_is_what_was_asked_behind_it() {
    let addr = serve(Router::new().sse(fails).sse(two)).await;
    let mut client = Client::connect(addr).await;
    client.send((ask("/fails") + &ask("/two")).as_bytes()).await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    assert_eq!(client.chunk().await, Err(BrokenOff));

    let mut response = reqwest::get(format!("http://{addr}/fails")).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: 1\n\n");
    assert!(response.chunk().await.is_err());
}

/// Events from far below to far above what is copied together, each a chunk.
#[tokio::test]
async fn events_of_every_size_arrive_whole_at_who_reads_slowly() {
    const SIZES: [usize; 9] = [0, 1, 4_000, 5_000, 32_700, 32_760, 40_000, 3_000_000, 7];
    #[sse_endpoint("/own")]
    async fn own() -> impl Stream<Item = Text<String>> {
        for size in SIZES {
            yield_!(Text("x".repeat(size)));
        }
    }
    #[sse_endpoint("/shared")]
    async fn shared(State(topic): State<Topic<Text<String>>>) -> impl Stream<Item = Text<String>> {
        yield_all!(topic.subscribe(Start::First));
    }
    let topic = Topic::in_memory(SIZES.len());
    for size in SIZES {
        topic.publish(&Text("x".repeat(size))).await.unwrap();
    }
    topic.finish();
    let app = Router::new().sse(own).sse(shared).with_state(topic);
    let addr = serve(app).await;
    for path in ["/own", "/shared"] {
        let mut client = Client::connect_narrow(addr).await;
        client.send((ask(path) + &ask(path)).as_bytes()).await;
        for _ in 0..2 {
            client.head().await;
            let mut stream = String::new();
            while let Some(chunk) = client.chunk().await.unwrap() {
                stream += &chunk;
                tokio::task::yield_now().await;
            }
            // A topic that is over says so.
            let events = stream.split("event: done\n").next().unwrap();
            let data = events.lines().filter_map(|line| line.strip_prefix("data:"));
            let data: Vec<_> = data.map(str::trim_start).collect();
            assert_eq!(
                data.iter().map(|data| data.len()).collect::<Vec<_>>(),
                SIZES
            );
            assert!(
                data.iter()
                    .all(|data| data.bytes().all(|byte| byte == b'x'))
            );
        }
    }
}

/// A connection that has had a stream, and waits for the next request, holds nobody up.
#[tokio::test]
async fn a_server_that_stops_closes_a_connection_behind_its_stream() {
    let shutdown = Shutdown::within(Duration::from_secs(10));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = Server::new(app()).takeover(true).shutdown(shutdown.clone());
    let serving = tokio::spawn(server.serve(listener));
    let mut client = Client::get(addr, "/two").await;
    expect_two(&mut client).await;
    // hyper has it again.
    client.send(ask("/page/1").as_bytes()).await;
    expect_page(&mut client, 1).await;
    client.send(ask("/two").as_bytes()).await;
    expect_two(&mut client).await;
    shutdown.begin();
    assert_eq!(soon("the connection to end", client.rest()).await, "");
    soon("the server to end", serving).await.unwrap().unwrap();
}

#[sse_endpoint("/topic")]
async fn of_topic(State(topic): State<Topic<u32>>) -> impl Stream<Item = u32> {
    yield_all!(topic.subscribe(Start::Now));
}

/// How often generators are polled: their span is entered each time.
#[derive(Clone, Default)]
struct Polls(Arc<AtomicUsize>);

impl<S> Layer<S> for Polls
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_enter(&self, id: &span::Id, context: layer::Context<'_, S>) {
        let span = context.span(id).expect("a span that is entered");
        if span.name() == "event_stream" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A reader that has taken all there is waits for more, so nobody asks it again behind each event.
#[tokio::test]
async fn who_waits_is_not_asked_behind_each_event() {
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
        topic.publish_now(&event).unwrap();
        client.expect_chunk().await;
    }
    let polls = polls.0.load(Ordering::Relaxed);
    // A few are for other reasons.
    let once = EVENTS as usize..EVENTS as usize * 3 / 2;
    assert!(once.contains(&polls), "{polls} polls for {EVENTS} events");
}

/// A layer's body that publishes the next event behind each that it passes on, in the same turn of the connection's task.
struct Publishing {
    body: Body,
    topic: Topic<u32>,
    next: u32,
    own: Option<Arc<OwnWaker>>,
}

/// As sets of futures have it, a waker of its own for the body, which is polled where that was woken, and not otherwise.
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

impl http_body::Body for Publishing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = match &this.own {
            None => Pin::new(&mut this.body).poll_frame(cx),
            Some(own) => {
                *own.outer.lock().unwrap() = Some(cx.waker().clone());
                if !own.was_woken.swap(false, Ordering::SeqCst) {
                    return Poll::Pending;
                }
                let waker = Waker::from(Arc::clone(own));
                Pin::new(&mut this.body).poll_frame(&mut Context::from_waker(&waker))
            }
        };
        if polled.is_ready() {
            if let Some(own) = &this.own {
                own.was_woken.store(true, Ordering::SeqCst);
            }
            this.next += 1;
            this.topic.publish_now(&this.next).unwrap();
        }
        polled
    }
}

#[tokio::test]
async fn what_comes_in_the_turn_of_the_event_before_it_is_not_missed() {
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
                    Body::new(Publishing {
                        body,
                        topic,
                        next: 0,
                        own,
                    })
                })
            }
        }));
        let mut client = Client::get(serve(app).await, "/topic").await;
        client.head().await;
        topic.publish_now(&0).unwrap();
        for event in 0..1_000_u32 {
            let chunk = client.expect_chunk().await;
            assert!(chunk.ends_with(&format!("data: {event}\n\n")), "{chunk}");
        }
    }
}

/// Ends when it is told to.
#[sse_endpoint("/until", keep_alive = "off")]
async fn until(
    State((topic, over)): State<(Topic<u32>, Arc<Notify>)>,
    connection: Connection,
) -> impl Stream<Item = u32> {
    connection.close_when(async move { over.notified().await });
    yield_all!(topic.subscribe(Start::Now));
}

/// A layer's body that gathers what there is, as with `now_or_never`: behind the first it looks with a waker that wakes nobody.
struct Gathering(Body);

impl http_body::Body for Gathering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let first = ready!(Pin::new(&mut self.0).poll_frame(cx));
        let mut gathered = Vec::new();
        let mut next = first;
        let mut nobody = Context::from_waker(Waker::noop());
        while let Some(frame) = next {
            gathered.extend(frame?.into_data().unwrap());
            match Pin::new(&mut self.0).poll_frame(&mut nobody) {
                Poll::Ready(another) => next = another,
                Poll::Pending => break,
            }
        }
        let gathered = Some(gathered).filter(|gathered| !gathered.is_empty());
        Poll::Ready(gathered.map(|gathered| Ok(Frame::data(gathered.into()))))
    }
}

#[tokio::test]
async fn who_looks_in_between_for_nobody_stops_no_end() {
    let topic = Topic::in_memory(16);
    let over = Arc::new(Notify::new());
    let gather = async |response: Response| response.map(|body| Body::new(Gathering(body)));
    let app = Router::new()
        .sse(until)
        .with_state((topic.clone(), Arc::clone(&over)))
        .layer(map_response(gather));
    let mut client = Client::get(serve(app).await, "/until").await;
    client.head().await;
    topic.publish_now(&0).unwrap();
    let event = client.expect_chunk().await;
    assert!(event.ends_with("data: 0\n\n"), "{event}");
    over.notify_one();
    client.read_to(r#"{"reason":"revoked"}"#).await;
}

/// A stream of this process, which one client after the other has an event of.
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
async fn a_body_that_is_handed_on_is_looked_at_in_whatever_turn() {
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
        // Behind some turns in which there is nothing.
        while topic.subscribers() == 0 || shared.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        topic.publish_now(&event).unwrap();
        client.read_to(&format!("data: data: {event}\n")).await;
    }
}
