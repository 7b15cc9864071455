//! A server that has run out of file descriptors accepts connections again once some descriptors
//! are free.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

use std::{net::SocketAddr, process::Stdio};

use support::{Client, within};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

/// The server's limit on file descriptors.
const DESCRIPTORS: usize = 48;

/// The number of clients that disconnect before being accepted.
const GONE: usize = 900;

#[tokio::test]
async fn server_accepts_once_connections_close() {
    let program = env!("CARGO_BIN_EXE_firehose");
    let mut server = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {DESCRIPTORS} && exec {program} 5000"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let addr = within("the server to listen", lines.next_line()).await;
    let addr: SocketAddr = addr.unwrap().unwrap().parse().unwrap();

    let mut clients = Vec::new();
    for _ in 0..DESCRIPTORS {
        clients.push(Client::get(addr, "/quiet").await);
    }
    clients[0].head().await;
    for _ in 0..GONE {
        drop(Client::get(addr, "/quiet").await);
    }
    let mut last = Client::get(addr, "/quiet").await;
    drop(clients);
    // The server can serve this client only now that other connections have closed, since each
    // connection needs a descriptor.
    let head = last.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
}
