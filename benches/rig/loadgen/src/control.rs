//! Control requests that set a server's rate and query its statistics.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The time limit for a response. The server may be busy with its streams.
const LIMIT: Duration = Duration::from_secs(15);

/// The response to `/rate` and `/stats`.
#[derive(Clone, Copy, Default, serde::Deserialize)]
pub(crate) struct Stats {
    /// The number of events published since the server started.
    pub(crate) published: u64,
    /// The number of open streams.
    pub(crate) open: i64,
}

pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Stats> {
    let mut socket = TcpStream::connect_timeout(&address, LIMIT)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_nodelay(true)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut response = String::new();
    socket.read_to_string(&mut response)?;
    let body = response.find('{').map_or("", |start| &response[start..]);
    Ok(serde_json::from_str(body)?)
}
