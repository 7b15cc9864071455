#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/reachable")]
async fn reachable() -> impl Stream<Item = bool> {
    let connect = async { std::net::TcpStream::connect("localhost:80").is_ok() };
    yield_!(connect.await);
}

fn main() {}
