//! Starts nginx with Nchan, and the program that publishes events to Nchan.

use std::{fs, io, path::Path};

use super::{
    process::{Process, free_port, wait_for},
    redis,
    rig::{Core, Rig, Server},
};
use crate::steps::root;

/// Starts one instance of nginx, which holds the events in memory.
pub(super) fn start(rig: &Rig) -> io::Result<Server> {
    let port = free_port()?;
    let nginx = start_nginx(rig, "nginx", port, None)?;
    serve(rig, vec![port], vec![nginx])
}

/// Starts a Redis server, and two instances of nginx that share a channel in Redis.
pub(super) fn start_on_redis(rig: &Rig) -> io::Result<Server> {
    let (redis_port, redis) = redis::start(rig, Core::Server)?;
    let mut ports = Vec::new();
    let mut processes = Vec::new();
    for name in ["nginx-1", "nginx-2"] {
        let port = free_port()?;
        processes.push(start_nginx(rig, name, port, Some(redis_port))?);
        ports.push(port);
    }
    processes.push(redis);
    serve(rig, ports, processes)
}

fn start_nginx(rig: &Rig, name: &str, port: u16, redis: Option<u16>) -> io::Result<Process> {
    let directory = rig.scratch().join(name);
    fs::create_dir_all(&directory)?;
    let (upstream, pass) = match redis {
        Some(port) => (
            format!("upstream redis {{ nchan_redis_server redis://127.0.0.1:{port}; }}"),
            "nchan_redis_pass redis;",
        ),
        None => (String::new(), ""),
    };
    let template = root().join("benches/rig/nchan/nginx.conf.in");
    let conf = fs::read_to_string(template)?
        .replace("@DIRECTORY@", &directory.to_string_lossy())
        .replace("@PORT@", &port.to_string())
        .replace("@REDIS_UPSTREAM@", &upstream)
        .replace("@REDIS_PASS@", pass);
    let file = directory.join("nginx.conf");
    fs::write(&file, conf)?;
    let mut nginx = rig.pinned_as(Core::Server, Path::new("nginx"), name)?;
    let nginx = Process::with_children(nginx.arg("-c").arg(&file))?;
    wait_for(port)?;
    Ok(nginx)
}

/// Starts the publisher, which sends its requests to the first instance of nginx.
fn serve(rig: &Rig, ports: Vec<u16>, processes: Vec<Process>) -> io::Result<Server> {
    let control = free_port()?;
    let mut publisher = rig.pinned(Core::Client, &rig.program("nchan-publisher"))?;
    publisher.arg(control.to_string());
    publisher.args(ports.first().map(u16::to_string));
    let publisher = Process::alone(&mut publisher)?;
    Server::wait(ports, control, processes, Some(publisher))
}
