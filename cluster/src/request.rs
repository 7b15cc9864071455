//! Requests to the programs: a Redis command, the current master, and the state of HAProxy's
//! servers.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::program::SOCKET;

/// The time after which a request fails.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends a command to a Redis server or a sentinel, and returns the bytes from the first read of
/// the response, up to 1 KiB. A short response arrives in a single read.
pub(crate) async fn redis(port: u16, command: &str) -> io::Result<String> {
    let request = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut response = [0; 1024];
        let len = stream.read(&mut response).await?;
        Ok(String::from_utf8_lossy(&response[..len]).into_owned())
    };
    timeout(PATIENCE, request).await?
}

/// Returns the port of the master, according to the sentinel on port `sentinel`.
///
/// # Errors
///
/// Returns an error if the sentinel does not respond within two seconds, or does not know the
/// master.
///
/// # Cancel safety
///
/// Dropping the future has no other effect.
pub async fn master_port(sentinel: u16) -> io::Result<u16> {
    let response = redis(sentinel, "SENTINEL get-master-addr-by-name main").await?;
    // The response is an array of the host and the port, each preceded by its length.
    let port = response.lines().nth(4).and_then(|port| port.parse().ok());
    port.ok_or_else(|| io::Error::other("the sentinel does not know the master"))
}

/// Returns whether a sentinel knows both the replica and the other two sentinels, so that it can
/// replace the master.
///
/// # Cancel safety
///
/// Dropping the future has no other effect.
pub async fn is_ready_to_fail_over(sentinel: u16) -> bool {
    let quorum = redis(sentinel, "SENTINEL CKQUORUM main").await;
    let replicas = redis(sentinel, "SENTINEL REPLICAS main").await;
    quorum.is_ok_and(|response| response.starts_with("+OK 3 "))
        && replicas.is_ok_and(|response| response.starts_with("*1\r\n"))
}

/// Returns the names (`a` or `b`) of the servers to which HAProxy sends no requests, because they
/// have failed the health check. `directory` is HAProxy's working directory.
///
/// # Errors
///
/// Returns an error if HAProxy does not respond within two seconds.
///
/// # Cancel safety
///
/// Dropping the future has no other effect.
pub async fn down_servers(directory: &Path) -> io::Result<Vec<String>> {
    let request = async {
        let mut stream = UnixStream::connect(directory.join(SOCKET)).await?;
        stream.write_all(b"show stat\n").await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        io::Result::Ok(response)
    };
    let response = timeout(PATIENCE, request).await??;
    let down = response.lines().filter_map(|line| {
        let columns: Vec<_> = line.split(',').collect();
        let (&backend, &server, &status) = (columns.first()?, columns.get(1)?, columns.get(17)?);
        let is_server = backend == "events" && server != "BACKEND";
        (is_server && !status.starts_with("UP")).then(|| server.to_owned())
    });
    Ok(down.collect())
}
