//! Clients that vanish. These clients run in a network namespace that the test disconnects.

use std::{
    io::{self, Write as _},
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sse_runtime::CloseReason;
use tokio::{net::TcpListener, time::sleep};

use super::{LATE, NEVER, next, server};

/// A network namespace and the virtual cable that leads to it. Both are removed on drop.
struct Elsewhere {
    name: String,
    /// The name and the address of the server's end of the cable.
    link: String,
    addr: [u8; 4],
}

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(args.split(' '))
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {args}: {}", why.trim()))
}

impl Elsewhere {
    /// # Errors
    ///
    /// Returns an error if the process is not allowed to create a namespace.
    fn new() -> Result<Self, String> {
        let process = std::process::id();
        // The addresses come from a range reserved for documentation. Each process uses four of
        // these addresses.
        let part = u8::try_from(process % 64).unwrap_or_default() * 4;
        let this = Self {
            name: format!("sse-{process}"),
            link: format!("sse{process}a"),
            addr: [192, 0, 2, part + 1],
        };
        let Self { name, link, .. } = &this;
        ip(&format!("netns add {name}"))?;
        ip(&format!(
            "link add {link} type veth peer name cable netns {name}"
        ))?;
        ip(&format!("addr add 192.0.2.{}/30 dev {link}", part + 1))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!(
            "-n {name} addr add 192.0.2.{}/30 dev cable",
            part + 2
        ))?;
        ip(&format!("-n {name} link set cable up"))?;
        Ok(this)
    }

    /// Starts curl in the namespace and discards its output.
    fn get(&self, url: &str) -> tokio::process::Child {
        tokio::process::Command::new("ip")
            .args(["netns", "exec", &self.name, "curl", "-sN", url])
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Disconnects the cable, so no more packets get through.
    fn cut(&self) {
        ip(&format!("-n {} link set cable down", self.name)).unwrap();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Delete the cable first, since the cable outlives the namespace if a process is still
        // running in that namespace.
        let _ = ip(&format!("link del {}", self.link));
        let _ = ip(&format!("netns del {}", self.name));
    }
}

#[tokio::test]
async fn vanished_peer_is_disconnected() {
    let elsewhere = match Elsewhere::new() {
        Ok(elsewhere) => elsewhere,
        Err(reason) => {
            // Write directly to stderr, since the test harness hides the output of passing tests.
            let skipped = format!("\nSKIPPED: vanished_peer_is_disconnected: {reason}\n");
            io::stderr().write_all(skipped.as_bytes()).unwrap();
            return;
        }
    };
    let (server, told, mut reasons) = server();
    let listener = TcpListener::bind((Ipv4Addr::from(elsewhere.addr), 0)).await;
    let listener = listener.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = server
        .send_timeout(NEVER)
        // The kernel counts in whole seconds, so the test uses a timeout that is not a whole number
        // of seconds.
        .tcp_user_timeout(Duration::from_millis(1_500));
    tokio::spawn(server.serve(listener));
    let _clients: Vec<_> = ["/kept-alive", "/quiet"]
        .map(|path| elsewhere.get(&format!("http://{addr}{path}")))
        .into();
    told.generators.until_started(2).await;
    // As long as the cable is connected, a quiet client stays connected too, since its kernel
    // acknowledges the server's probes.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(told.generators.count().alive, 2);

    elsewhere.cut();
    let cut = Instant::now();
    for _ in 0..2 {
        let closed = next(&mut reasons).await;
        assert_eq!(closed.reason, CloseReason::ClientGone, "{closed:?}");
    }
    // The timeout starts once nothing has been sent for one second.
    assert!(cut.elapsed() < Duration::from_secs(3) + 2 * LATE);
    assert_eq!(told.generators.count().alive, 0);
}
