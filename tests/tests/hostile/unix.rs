//! Misbehaving clients on a Unix socket.

use std::io;

use sse_runtime::Shutdown;
use support::within;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

use super::{LIMIT, app, impatient, read_all};

#[tokio::test]
async fn unix_socket_is_served_like_tcp() {
    let path = std::env::temp_dir().join(format!("sse-hostile-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let (app, generators, _open) = app();
    let shutdown = Shutdown::within(LIMIT);
    let serving = impatient(app).shutdown(shutdown.clone()).serve(listener);
    let serving = tokio::spawn(serving);
    let connect = || async {
        let mut socket = UnixStream::connect(&path).await.unwrap();
        socket
            .write_all(b"GET /clock HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        read_to(&mut socket, "data: 1\n\n").await.unwrap();
        socket
    };
    // This client disconnects.
    drop(connect().await);
    generators.until_alive(0).await;
    // This client stays connected but stops reading.
    let stalled = connect().await;
    // This client stays connected until the server shuts down.
    let stays = connect().await;
    assert_eq!(generators.count().alive, 2);
    shutdown.begin();
    let got = read_all(stays).await;
    let text = String::from_utf8_lossy(&got.bytes);
    assert!(text.contains("\nretry: "), "{text}");
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    within("the server to stop", serving)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(generators.count().alive, 0);
    drop(stalled);
    std::fs::remove_file(&path).unwrap();
}

async fn read_to(socket: &mut UnixStream, what: &str) -> io::Result<()> {
    let mut text = String::new();
    while !text.contains(what) {
        let mut some = [0; 1024];
        let len = within("the server to write", socket.read(&mut some)).await?;
        assert!(len > 0, "expected {what:?} after {text:?}");
        text += &String::from_utf8_lossy(&some[..len]);
    }
    Ok(())
}
