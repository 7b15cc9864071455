//! Starts Redis, servers that share a topic in Redis, and the program that calls Redis directly.

use std::{io, path::Path, process::Stdio};

use super::{
    process::{Process, free_port, wait_for},
    results::Sample,
    rig::{Core, Rig, Server},
};

/// Starts a Redis server that holds its data only in memory. Returns the server's port.
pub(super) fn start(rig: &Rig, core: Core) -> io::Result<(u16, Process)> {
    let port = free_port()?;
    let mut command = rig.pinned(core, Path::new("redis-server"))?;
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no"]);
    let process = Process::alone(&mut command)?;
    wait_for(port)?;
    Ok((port, process))
}

/// Starts a Redis server, and two servers that share a topic. Streams are opened on both servers.
/// The second one publishes, so the first stream is on a server that receives its events only from
/// Redis.
pub(super) fn start_nodes(rig: &Rig, core: Core) -> io::Result<Server> {
    let (redis_port, redis) = start(rig, core)?;
    let mut ports = Vec::new();
    let mut processes = Vec::new();
    let mut publisher = 0;
    for name in ["sse-endpoint-1", "sse-endpoint-2"] {
        publisher = free_port()?;
        let mut node = rig.pinned_as(Core::Server, &rig.program("sse-endpoint"), name)?;
        node.args([publisher.to_string(), "redis".to_owned(), url(redis_port)]);
        processes.push(Process::alone(&mut node)?);
        wait_for(publisher)?;
        ports.push(publisher);
    }
    processes.push(redis);
    Server::wait(ports, publisher, processes, None)
}

/// Runs the `redis-calls` program on the server's core, with a Redis server on the other core, and
/// returns the figures that the program prints.
pub(super) fn measure_calls(rig: &Rig, words: &[&str], seconds: f64) -> io::Result<Sample> {
    let (port, _redis) = start(rig, Core::Client)?;
    let mut command = rig.pinned(Core::Server, &rig.program("redis-calls"))?;
    let (call, rest) = words.split_first().unwrap_or((&"", &[]));
    command.args([&*url(port), call, &seconds.to_string()]);
    let output = command.args(rest).stdout(Stdio::piped()).output()?;
    if !output.status.success() {
        let failed = format!("redis-calls {}: {}", words.join(" "), output.status);
        return Err(io::Error::other(failed));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}
