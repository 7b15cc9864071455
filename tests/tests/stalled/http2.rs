//! HTTP/2 clients that stop reading a stream or a whole connection.

use std::{pin::pin, time::Instant};

use axum::{
    Router,
    body::Body,
    http::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use h2::{Reason, RecvStream, client::SendRequest};
use sse_runtime::CloseReason;
use support::{SseRouterExt as _, serve_as, server_of, within};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::{SEND_TIMEOUT, TICK, Told, assert_stalled, each, next, server};

/// Returns an HTTP/2 client with a connection window of `room`, and the task that drives the
/// connection.
async fn http2(socket: TcpStream, room: u32) -> (SendRequest<bytes::Bytes>, JoinHandle<()>) {
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(room)
        .handshake(socket)
        .await
        .unwrap();
    let driving = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client.ready().await.unwrap(), driving)
}

async fn http2_get(client: &SendRequest<bytes::Bytes>, path: &str) -> RecvStream {
    let request = Request::get(format!("http://test{path}")).body(()).unwrap();
    let mut client = client.clone().ready().await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    within("the response head", response)
        .await
        .unwrap()
        .into_body()
}

/// Reads the next chunk of data and releases the chunk's flow-control capacity.
async fn http2_data(stream: &mut RecvStream) -> Option<Result<usize, h2::Error>> {
    let data = within("the next event", stream.data()).await?;
    Some(data.map(|data| {
        let _ = stream.flow_control().release_capacity(data.len());
        data.len()
    }))
}

#[tokio::test]
async fn unread_stream_is_reset_while_others_continue() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, _driving) = http2(socket, 16 * 1024 * 1024).await;
    let mut others = JoinSet::new();
    for _ in 0..3 {
        let mut stream = http2_get(&client, "/clock").await;
        others.spawn(async move {
            // Keep reading until well after the unread streams have been reset.
            for _ in 0..3 * SEND_TIMEOUT.as_millis() / TICK.as_millis() {
                http2_data(&mut stream).await.unwrap().unwrap();
            }
        });
    }
    // Nothing is sent on this stream, so it is not stalled.
    let _quiet = http2_get(&client, "/quiet").await;
    let mut unread = Vec::new();
    for path in ["/each", "/ready", "/huge"] {
        unread.push(http2_get(&client, path).await);
    }
    for _ in 0..unread.len() {
        let closed = next(&mut reasons).await;
        assert_stalled(&closed);
        assert!(
            closed.path == "/huge" || closed.yielded < 256 * 1024,
            "{closed:?}"
        );
    }
    assert_eq!(told.generators.count().alive, 4);
    for mut stream in unread {
        let reset = loop {
            match http2_data(&mut stream).await {
                Some(Ok(_)) => {}
                other => break other,
            }
        };
        let error = reset.expect("a reset").unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error:?}");
        assert_eq!(error.reason(), Some(Reason::CANCEL));
    }
    while let Some(other) = others.join_next().await {
        other.unwrap();
        assert_eq!(next(&mut reasons).await.path, "/clock");
    }
    assert_eq!(told.generators.count().alive, 1);
}

/// The client's window is zero, so hyper never polls the stream for data, but the server has to
/// reset the stream anyway.
#[tokio::test]
async fn stream_without_window_is_reset() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(socket)
        .await
        .unwrap();
    let _driving = tokio::spawn(connection);
    let _stream = http2_get(&client, "/each").await;
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    assert_eq!(told.generators.count().alive, 0);
}

/// A layer that runs the handler in a separate task, like `Buffer` from tower.
async fn elsewhere(request: Request<Body>, next: Next) -> Response {
    tokio::spawn(next.run(request)).await.unwrap()
}

/// A layer that forwards the body from a separate task.
async fn forwarded(request: Request<Body>, next: Next) -> Response {
    let (parts, body) = next.run(request).await.into_parts();
    let (sender, receiver) = mpsc::channel(1);
    let mut frames = body.into_data_stream();
    tokio::spawn(async move {
        while let Some(frame) = frames.next().await {
            if sender.send(frame).await.is_err() {
                break;
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Response::from_parts(parts, body)
}

/// A layer that delays each frame for longer than the limit before forwarding it.
async fn throttled(request: Request<Body>, next: Next) -> Response {
    let (parts, body) = next.run(request).await.into_parts();
    let frames = body.into_data_stream().throttle(SEND_TIMEOUT * 3 / 2);
    Response::from_parts(parts, Body::from_stream(frames))
}

/// The server notices unread responses even if a layer moves the handler or the body to another
/// task.
#[tokio::test]
async fn unread_stream_is_reset_inside_layers() {
    let (told, mut reasons) = Told::new();
    let app = Router::new()
        .nest(
            "/elsewhere",
            Router::new().sse(each).layer(from_fn(elsewhere)),
        )
        .nest(
            "/forwarded",
            Router::new().sse(each).layer(from_fn(forwarded)),
        )
        .with_state(told.clone());
    let server = server_of(app).send_timeout(SEND_TIMEOUT);
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let _unread = [
        http2_get(&client, "/elsewhere/each").await,
        http2_get(&client, "/forwarded/each").await,
    ];
    for _ in 0..2 {
        let closed = next(&mut reasons).await;
        assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    }
    assert_eq!(told.generators.count().alive, 0);
}

/// The layer causes the delay, not the client.
#[tokio::test]
async fn stream_throttled_by_a_layer_is_not_stalled() {
    let (told, mut reasons) = Told::new();
    let app = Router::new()
        .sse(each)
        .layer(from_fn(throttled))
        .with_state(told.clone());
    let addr = serve_as(server_of(app).send_timeout(SEND_TIMEOUT)).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let mut body = http2_get(&client, "/each").await;
    for _ in 0..3 {
        let data = within("a frame", body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    drop(body);
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::ClientGone, "{closed:?}");
}

/// The server also resets responses that are not event streams.
#[tokio::test]
async fn unread_download_is_reset() {
    let app = Router::new().route("/zeros", get(async || vec![0; 10_000_000]));
    let addr = serve_as(server_of(app).send_timeout(SEND_TIMEOUT)).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let mut unread = http2_get(&client, "/zeros").await;
    // The client receives as much data as its window allows, followed by the reset.
    let error = within("the end of the stream", async {
        loop {
            match unread.data().await {
                Some(Ok(_)) => {}
                other => return other.unwrap().unwrap_err(),
            }
        }
    })
    .await;
    assert_eq!(error.reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn unread_connection_ends_all_of_its_streams() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let socket = socket.connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .handshake(socket)
        .await
        .unwrap();
    let mut connection = pin!(connection);
    let streams = async {
        let mut streams = vec![http2_get(&client, "/clock").await];
        for _ in 0..8 {
            streams.push(http2_get(&client, "/each").await);
        }
        streams
    };
    // From here on, the client does not read from the socket.
    let streams = tokio::select! {
        streams = streams => streams,
        ended = &mut connection => panic!("the connection ended: {ended:?}"),
    };
    for _ in &streams {
        let closed = next(&mut reasons).await;
        assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    }
    assert_eq!(told.generators.count().alive, 0);
}

/// The client needs longer than the limit to read one event, but it never stops reading for that
/// long.
#[tokio::test]
async fn slowly_read_stream_among_others_is_not_stalled() {
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, _driving) = http2(socket, 16 * 1024 * 1024).await;
    let mut stream = http2_get(&client, "/huge").await;
    let start = Instant::now();
    while start.elapsed() < SEND_TIMEOUT * 3 {
        http2_data(&mut stream).await.unwrap().unwrap();
        sleep(SEND_TIMEOUT / 10).await;
    }
    assert!(reasons.try_recv().is_err());
}

/// The server passes the event to hyper in a few large pieces, but the client reads the event in
/// small pieces.
#[tokio::test]
async fn slowly_read_small_window_is_not_stalled() {
    const WINDOW: u32 = 1000;
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .handshake(socket)
        .await
        .unwrap();
    let _driving = tokio::spawn(connection);
    let mut stream = http2_get(&client, "/huge").await;
    let start = Instant::now();
    while start.elapsed() < SEND_TIMEOUT * 3 {
        http2_data(&mut stream).await.unwrap().unwrap();
        sleep(SEND_TIMEOUT / 7).await;
    }
    assert!(reasons.try_recv().is_err());
}
