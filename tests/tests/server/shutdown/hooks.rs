//! The server waits for close hooks before it finishes shutting down.

use std::time::Duration;

use axum::{Router, extract::State};
use bytes::Bytes;
use sse_runtime::{CloseReason, Connection, Shutdown, Stream, sse_endpoint};
use support::{Generators, SseRouterExt as _, server_of, within};
use tokio::net::{TcpListener, TcpStream};

use super::{Process, retry, to_the_end};

#[tokio::test]
async fn server_waits_for_close_hooks() {
    let mut server = Process::start("0", "100").await;
    let mut client = server.stream("/hooked").await;
    server.signal("TERM").await;
    retry(&to_the_end(&mut client).await);
    assert!(server.exit().await.success());
    let line = within("the hook", server.lines.next_line()).await.unwrap();
    assert_eq!(line.as_deref(), Some("shutdown"));
}

/// A local variable with a slow destructor.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hooks_run_for_http2_streams_left_after_drain() {
    #[sse_endpoint("/hooked")]
    async fn hooked(
        connection: Connection,
        State(generators): State<Generators>,
    ) -> impl Stream<Item = u32> {
        let _running = (generators.enter(), Slow);
        let hook = generators.enter();
        connection.on_close(|reason| async move {
            // If the reason is wrong, leak the guard, so that the count stays above zero and the
            // test fails.
            if reason != CloseReason::Shutdown {
                std::mem::forget(hook);
            }
        });
        for number in 0.. {
            yield_!(number);
            tokio::task::yield_now().await;
        }
    }

    const STREAMS: usize = 8;
    let generators = Generators::new();
    let app = Router::new().sse(hooked).with_state(generators.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::within(Duration::from_millis(50));
    let server = server_of(app).shutdown(shutdown.clone());
    let served = tokio::spawn(server.serve(listener));

    // The client's window is zero, so hyper does not poll the streams. The streams therefore do not
    // notice the shutdown.
    let socket = TcpStream::connect(addr).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (mut send, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let request = http::Request::get("http://test/hooked").body(()).unwrap();
        streams.push(send.send_request(request, true).unwrap().0);
    }
    generators.until_started(2 * STREAMS).await;
    shutdown.begin();
    within("the server to stop", served).await.unwrap().unwrap();
    assert_eq!(generators.count().alive, 0);
}

#[tokio::test]
async fn hooks_run_after_a_second_signal() {
    let mut server = Process::start("0", "60000").await;
    let _client = server.stream("/hooked-finite").await;
    server.exit_at_second_signal("TERM").await;
    let line = within("the hook", server.lines.next_line()).await.unwrap();
    assert_eq!(line.as_deref(), Some("shutdown"));
}
