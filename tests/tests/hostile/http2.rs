//! Handcrafted HTTP/2 frames (RFC 9113), and the limits of HTTP/2 connections.

use std::time::{Duration, Instant};

use axum::http::Request;
use support::{Client, serve_as, server_of, within};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use super::{
    Bystander, CONTINUATION, HEADERS, LATE, LIMIT, MUCH, PING, PREFACE, RST_STREAM, SETTINGS, app,
    frame, get_frame, impatient, send_and_read, server,
};

#[tokio::test]
async fn streams_reset_immediately_are_cleaned_up() {
    let (addr, generators) = server().await;
    let bystander = Bystander::new(addr).await;
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    for stream in (1..2_000).step_by(2) {
        bytes.extend(get_frame(stream, "/clock"));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let got = send_and_read(addr, &bytes).await;
    assert!(got.after < 2 * LIMIT + LATE, "{:?}", got.after);
    generators.until_alive(1).await;
    bystander.assert_undisturbed(addr).await;
}

/// The connection ends either because the server rejects the frames, or because the server's
/// replies fill every buffer and cannot be sent before the timeout.
#[tokio::test]
async fn flood_of_frames_ends_the_connection() {
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    let head = [&settings[..], &frame(HEADERS, 1, 1, &[0x82])].concat();
    let flood = |head: Vec<u8>, frame: Vec<u8>| async move {
        // The client does not read.
        let (mut socket, _) = Client::connect_narrow(addr).await.into_parts();
        let frames = frame.repeat(512);
        let start = Instant::now();
        within("the flood to end", async {
            let mut len = 0;
            socket.write_all(&head).await.unwrap();
            while socket.write_all(&frames).await.is_ok() {
                len += frames.len();
                assert!(len < MUCH, "the server reads without limit");
            }
        })
        .await;
        assert!(start.elapsed() < 2 * LIMIT + LATE);
    };
    tokio::join!(
        flood(settings.clone(), frame(PING, 0, 0, &[0; 8])),
        flood(settings.clone(), frame(SETTINGS, 0, 0, b"")),
        flood(head, frame(CONTINUATION, 0, 1, &[0x82; 64])),
    );
    bystander.assert_undisturbed(addr).await;
}

/// An infinite timeout disables the limit.
#[tokio::test]
async fn server_works_with_infinite_timeouts() {
    let (app, generators, _) = app();
    let never = Duration::MAX;
    let server = server_of(app)
        .header_read_timeout(never)
        .body_read_timeout(never)
        .send_timeout(never)
        .tcp_user_timeout(never);
    let addr = serve_as(server).await;
    let mut client = Client::post(addr, "/json", 801, b"[1").await;
    client.send(&[b' '; 798]).await;
    client.send(b"]").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: [1]\n\n");

    // An HTTP/2 request head can be as large as an HTTP/1 request head.
    let socket = TcpStream::connect(addr).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let request = Request::get("http://test/quiet").header("cookie", "x".repeat(60_000));
    let (response, _) = client
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let response = within("a response", response).await.unwrap();
    assert_eq!(response.status(), 200);
    generators.until_started(2).await;
}

/// The client acknowledges PINGs but opens no stream.
#[tokio::test]
async fn idle_http2_connection_is_closed() {
    let (app, generators, open) = app();
    let addr = serve_as(impatient(app)).await;
    let connect = async || {
        let socket = TcpStream::connect(addr).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        (client, tokio::spawn(connection))
    };
    let (_silent, silent) = connect().await;
    let (mut listens, connection) = connect().await;
    let request = Request::get("http://test/gate").body(()).unwrap();
    let (response, _) = listens.send_request(request, true).unwrap();
    let mut body = within("the response head", response)
        .await
        .unwrap()
        .into_body();
    within("the first event", body.data())
        .await
        .unwrap()
        .unwrap();

    within("the idle connection to be closed", silent)
        .await
        .unwrap()
        .unwrap();
    // A connection with an open stream is not idle, even if nothing is sent on the stream.
    assert!(!connection.is_finished());
    generators.until_started(1).await;
    open.send(true).unwrap();
    // Read until the stream ends cleanly.
    let mut rest = Vec::new();
    while let Some(data) = within("the rest of the stream", body.data()).await {
        rest.extend_from_slice(&data.unwrap());
    }
    assert_eq!(rest, b"data: 2\n\n");
}

/// The client requests more concurrent streams than the server allows. The excess streams wait
/// until other streams have ended.
#[tokio::test]
async fn streams_beyond_the_maximum_wait_for_others() {
    const MOST: usize = 250;
    const STREAMS: usize = 300;
    let (app, generators, open) = app();
    let addr = serve_as(impatient(app)).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(16 * 1024 * 1024)
        // By default, this client closes a connection that receives a burst of small frames.
        .data_frame_budget(1024 * 1024)
        .handshake::<_, bytes::Bytes>(socket)
        .await
        .unwrap();
    let _driving = tokio::spawn(connection);
    let ask = |path: &str| Request::get(format!("http://test{path}")).body(()).unwrap();
    // Once the client has received a response, it has also received the server's SETTINGS, which
    // contain the maximum number of streams.
    let mut first = client.clone().ready().await.unwrap();
    let (response, _) = first.send_request(ask("/plain/1"), true).unwrap();
    within("a response", response).await.unwrap();

    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let client = client.clone();
        let request = ask("/gate");
        streams.spawn(async move {
            let mut client = client.ready().await.unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            let mut body = response.await.unwrap().into_body();
            let mut text = String::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                let _ = body.flow_control().release_capacity(data.len());
                text += &String::from_utf8_lossy(&data);
            }
            text
        });
    }
    generators.until_started(MOST).await;
    // By the time a request on another connection receives its response, an excess stream would
    // have started if the server allowed excess streams.
    Client::get(addr, "/plain/1").await.head().await;
    assert_eq!(generators.count().started, MOST);
    open.send_replace(true);
    while let Some(text) = within("all streams to end", streams.join_next()).await {
        assert_eq!(text.unwrap(), "data: 1\n\ndata: 2\n\n");
    }
    assert_eq!(generators.count().started, STREAMS);
}
