//! Readiness probes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::Router;
use sse_runtime::Server;
use support::Client;
use tokio::net::TcpListener;

#[tokio::test]
async fn readiness_check_decides_the_status() {
    let is_healthy = Arc::new(AtomicBool::new(true));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let check = Arc::clone(&is_healthy);
    let server = Server::new(Router::new())
        .readiness_check("/readyz", move || check.load(Ordering::Relaxed));
    tokio::spawn(server.serve(listener));
    for (healthy, status) in [
        (true, "HTTP/1.1 200"),
        (false, "HTTP/1.1 503"),
        (true, "HTTP/1.1 200"),
    ] {
        is_healthy.store(healthy, Ordering::Relaxed);
        let mut client = Client::get(addr, "/readyz").await;
        let line = client.head().await.status_line;
        assert!(line.starts_with(status), "{line}");
    }
}
