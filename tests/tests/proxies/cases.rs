//! The tests that run against each proxy.

use std::{process::Stdio, sync::atomic::Ordering, time::Duration};

use crate::{
    configs::Kind,
    process::{Frames, Proxy},
    servers::{PIECES, Process, STREAMS, Servers},
};
use support::{Client, CutOff, soon, within};
use tokio::process::Command;

pub(crate) fn number(number: u32) -> String {
    format!("data: {number}\n\n")
}

/// The head and the first event arrive before the generator yields a second event. Each later event
/// arrives before the generator yields the next one.
pub(crate) async fn event_is_not_held_back_until_the_next_one(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/asked").await;
    frames.expect(&number(1)).await;
    // If the kernel delayed each event by 200 ms, all twelve events together would exceed the time
    // limit.
    soon("twelve events", async {
        for asked in 2..14 {
            servers.world.next.notify_one();
            frames.expect(&number(asked)).await;
        }
    })
    .await;
}

pub(crate) async fn events_arrive_at_once_with_compression(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut client = Client::connect(proxy.addr).await;
    client
        .send(b"GET /asked HTTP/1.1\r\nhost: test\r\naccept-encoding: gzip, deflate, br, zstd\r\n\r\n")
        .await;
    let mut frames = Frames::of(client).await;
    frames.expect(&number(1)).await;
    servers.world.next.notify_one();
    frames.expect(&number(2)).await;
}

/// The generator is dropped immediately, even though no write fails.
pub(crate) async fn client_disconnect_is_noticed_immediately(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/asked").await;
    frames.expect(&number(1)).await;
    assert_eq!(servers.world.generators.count().alive, 1);
    drop(frames);
    servers.world.generators.until_alive(0).await;

    // If the server responds immediately to a POST with a body, Caddy 2.6 sometimes closes its
    // connection to the server. This happens too rarely to test separately, but often enough to
    // make this test flaky.
    let body: &[u8] = if kind.program == "caddy" { b"" } else { b"{}" };
    let post = Client::post(proxy.addr, "/asked", body.len(), body);
    let mut frames = Frames::of(post.await).await;
    frames.expect(&number(1)).await;
    assert_eq!(servers.world.generators.count().alive, 1);
    drop(frames);
    servers.world.generators.until_alive(0).await;
}

/// This test is for proxies that notice a disconnect only when they send something.
pub(crate) async fn client_disconnect_is_noticed_at_the_keep_alive(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/alive").await;
    frames.expect(&number(1)).await;
    drop(frames);
    servers.world.generators.until_gone().await;
}

/// A stream that the server ends cleanly also ends cleanly for the client.
pub(crate) async fn clean_end_is_forwarded(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/quiet").await;
    frames.expect(&number(1)).await;
    servers.shutdown.begin();
    let last = frames.next().await.unwrap().unwrap();
    assert!(last.starts_with("retry: "), "{last:?}");
    assert_eq!(frames.next().await, Ok(None));
}

/// A stream that is cut off does not appear complete to the client.
pub(crate) async fn aborted_stream_does_not_end_cleanly(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/broken").await;
    frames.expect(&number(1)).await;
    servers.world.next.notify_one();
    assert_eq!(frames.next().await, Err(CutOff));
}

/// Browsers can open more than six streams on a connection, and closing one stream does not affect
/// the others.
pub(crate) async fn http2_connection_carries_many_streams(kind: Kind) {
    let kind = Kind {
        listens: kind.listens_to_http2,
        ..kind
    };
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let browser = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let mut streams = Vec::new();
    for _ in 0..10 {
        let request = browser.get(format!("http://{}/quiet", proxy.addr)).send();
        let mut response = within("the head", request).await.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        let event = within("the event", response.chunk()).await.unwrap();
        assert_eq!(event.unwrap(), number(1));
        streams.push(response);
    }
    servers.world.generators.until_alive(10).await;
    drop(streams.pop());
    servers.world.generators.until_alive(9).await;
    drop(streams);
    servers.world.generators.until_alive(0).await;
}

/// The median delay that the proxy adds is too short to notice.
pub(crate) async fn events_are_delayed_by_less_than_200_ms(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut medians = Vec::new();
    for addr in [servers.addrs[0], proxy.addr] {
        let mut frames = Frames::of(Client::get(addr, "/stamped").await).await;
        let mut took = Vec::new();
        for _ in 0..9 {
            servers.world.next.notify_one();
            let frame = frames.next().await.unwrap().unwrap();
            let number = frame.trim_start_matches("data: ").trim_end();
            let yielded = Duration::from_micros(number.parse().unwrap());
            took.push(servers.world.start.elapsed() - yielded);
        }
        took.sort();
        medians.push(took[took.len() / 2]);
        drop(frames);
        // Wait until the generator is dropped, since the next notification could otherwise wake
        // that generator.
        servers.world.generators.until_alive(0).await;
    }
    let [direct, proxied] = medians[..] else {
        unreachable!("there are two medians")
    };
    assert!(
        proxied < direct + Duration::from_millis(200),
        "{proxied:?} through the proxy, {direct:?} directly"
    );
}

/// Every stream receives its event over TLS and HTTP/2, through a proxy that compresses every
/// response that it can compress.
pub(crate) async fn browser_can_open_fifty_streams(kind: Kind) {
    let kind = Kind {
        listens: kind.listens_to_browsers,
        ..kind
    };
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("https://{}/", proxy.addr))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("`chromium`, installed by `cargo xtask interop`");
    // Each stream receives one event, so the page reports each stream only once unless the stream
    // reconnects.
    let mut told = servers.world.told.subscribe();
    let all = tokio::time::timeout(
        Duration::from_secs(30),
        told.wait_for(|told| *told == STREAMS),
    );
    let seen = all.await.is_ok();
    let told = *servers.world.told.borrow();
    assert!(seen, "{told} of {STREAMS} streams received their event");
    assert_eq!(servers.world.generators.count().started, STREAMS);
    browser.kill().await.unwrap();
    servers.world.generators.until_gone().await;
}

/// The server gets the client's address from the proxy.
pub(crate) async fn client_address_reaches_the_server(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut client = Client::connect(proxy.addr).await;
    client
        .send(b"GET /address HTTP/1.1\r\nhost: test\r\nx-real-ip: 192.0.2.1\r\n\r\n")
        .await;
    let mut frames = Frames::of(client).await;
    frames.expect("data: 127.0.0.1\n\n").await;
}

/// A client that does not read stalls the generator once the proxy's buffers and both sockets'
/// buffers are full.
pub(crate) async fn backpressure_reaches_the_generator(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let client = proxy.get("/much").await;
    let taken = || servers.world.taken.load(Ordering::Relaxed);
    within("the generator to stall", async {
        let mut before = 0;
        while before == 0 || before < taken() {
            before = taken();
            // No signal shows that the generator has stalled, so wait and check whether the server
            // has accepted more events. If the wait is too short, the test still passes.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let taken = taken();
    assert!(taken < PIECES / 4, "{taken} pieces were accepted");
    assert_eq!(servers.world.generators.count().alive, 1);
    drop(client);
    servers.world.generators.until_alive(0).await;
}

/// The proxy's timeout, which is shortened for this test, ends a silent stream but not a stream
/// with keep-alives.
pub(crate) async fn keep_alive_keeps_a_quiet_stream_open(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[kind.silence]).await else {
        return;
    };
    let mut silent = proxy.get("/quiet").await;
    silent.expect(&number(1)).await;
    let mut alive = proxy.get("/alive").await;
    alive.expect(&number(1)).await;

    // The proxy ends the silent stream, and the server notices.
    let end = silent.next().await;
    assert!(matches!(end, Err(CutOff) | Ok(None)), "{end:?}");
    servers.world.generators.until_alive(1).await;
    // The other stream stays open for twice as long.
    for _ in 0..8 {
        alive.expect(":\n").await;
    }
    servers.world.next.notify_one();
    alive.expect(&number(2)).await;
    assert_eq!(alive.next().await, Ok(None));
}

/// The proxy skips a server that refuses connections, so clients are not affected.
pub(crate) async fn refusing_server_is_skipped_immediately(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    servers.until_first_refuses().await;
    // These streams are opened before a health check can detect the failure.
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut frames = proxy.get("/quiet").await;
        frames.expect(&number(1)).await;
        streams.push(frames);
    }
    servers.world.generators.until_alive(4).await;
}

/// Like the previous test, but for a proxy that skips the server only after a health check.
pub(crate) async fn refusing_server_is_skipped_after_a_health_check(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    servers.until_first_refuses().await;
    within("the health check to detect the failure", async {
        // The proxy alternates between the servers, so 20 successes in a row cannot be a
        // coincidence.
        let mut in_a_row = 0;
        while in_a_row < 20 {
            let mut client = Client::connect(proxy.addr).await;
            client
                .send(b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
                .await;
            let response = client.rest().await;
            in_a_row = if response.starts_with("HTTP/1.1 200 ") {
                in_a_row + 1
            } else {
                0
            };
        }
    })
    .await;
    let mut frames = proxy.get("/quiet").await;
    frames.expect(&number(1)).await;
}

/// After SIGTERM, a server receives no new streams, but its open streams continue.
pub(crate) async fn draining_server_receives_no_new_streams(kind: Kind) {
    let servers = [Process::start().await, Process::start().await];
    let Some(proxy) = Proxy::start(kind, [servers[0].addr, servers[1].addr], &[]).await else {
        return;
    };
    let get_id = async || Client::get(proxy.addr, "/id").await.read_to("\n.").await;
    let mut early = [proxy.get("/quiet").await, proxy.get("/quiet").await];
    for frames in &mut early {
        frames.expect(&number(1)).await;
    }
    for server in &servers {
        let id = format!("\n{}\n.", server.id());
        within("each server to respond", async {
            while !get_id().await.contains(&id) {}
        })
        .await;
    }

    let stopped = servers[0].id();
    let killed = Command::new("kill").args(["-s", "TERM", &stopped]).status();
    assert!(killed.await.unwrap().success());
    let other = format!("\n{}\n.", servers[1].id());
    within("only the other server to respond", async {
        // The proxy distributes requests over both servers, so 50 responses in a row from one
        // server cannot be a coincidence.
        let mut in_a_row = 0;
        while in_a_row < 50 {
            in_a_row = if get_id().await.contains(&other) {
                in_a_row + 1
            } else {
                0
            };
        }
    })
    .await;

    for frames in &mut early {
        let more = tokio::time::timeout(Duration::from_millis(100), frames.next()).await;
        assert!(more.is_err(), "expected an open stream, found {more:?}");
    }
}
