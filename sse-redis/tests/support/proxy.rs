//! [`Proxy`]: a TCP proxy that injects faults.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// Forwards connections to a port of this machine.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    target: AtomicU16,
    /// Whether new connections are accepted but forward nothing.
    is_black_hole: AtomicBool,
    drops_messages: AtomicBool,
    /// Whether the data that the server sends is held back.
    holds_replies: watch::Sender<bool>,
    /// The delay of the data that the server sends on pub/sub connections, in milliseconds.
    delay: AtomicU64,
    rejects_sentinels: AtomicBool,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    is_stalled: watch::Sender<bool>,
    has_subscribed: AtomicBool,
    is_from_sentinel: AtomicBool,
    is_cut: watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: target.into(),
            is_black_hole: AtomicBool::new(false),
            drops_messages: AtomicBool::new(false),
            holds_replies: watch::Sender::new(false),
            delay: AtomicU64::new(0),
            rejects_sentinels: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sets the port to which new connections are forwarded.
    pub fn redirect(&self, target: u16) {
        self.shared.target.store(target, Ordering::Relaxed);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            connection.is_cut.send_replace(true);
        }
    }

    /// Stops forwarding data, but closes no connection. New connections forward nothing either.
    pub fn black_hole(&self) {
        self.shared.is_black_hole.store(true, Ordering::Relaxed);
        self.stall();
    }

    /// Stops forwarding the data of the open connections.
    pub fn stall(&self) {
        for connection in &*self.shared.connections.lock().unwrap() {
            connection.is_stalled.send_replace(true);
        }
    }

    /// Forwards the data that has been held back, and all further data.
    pub fn heal(&self) {
        self.shared.is_black_hole.store(false, Ordering::Relaxed);
        for connection in &*self.shared.connections.lock().unwrap() {
            connection.is_stalled.send_replace(false);
        }
    }

    /// Stops forwarding the data of the open pub/sub connections.
    pub fn stall_subscribers(&self) {
        for connection in &*self.shared.connections.lock().unwrap() {
            if connection.has_subscribed.load(Ordering::Relaxed) {
                connection.is_stalled.send_replace(true);
            }
        }
    }

    /// Closes the connections of sentinels, and sets whether further ones are closed.
    pub fn reject_sentinels(&self, rejects: bool) {
        self.shared
            .rejects_sentinels
            .store(rejects, Ordering::Relaxed);
        for connection in &*self.shared.connections.lock().unwrap() {
            if connection.is_from_sentinel.load(Ordering::Relaxed) {
                connection.is_cut.send_replace(true);
            }
        }
    }

    /// Sets whether messages of the pub/sub connections are discarded.
    pub fn drop_messages(&self, drops: bool) {
        self.shared.drops_messages.store(drops, Ordering::Relaxed);
    }

    /// Sets whether the data that the server sends is held back. The data that it receives is still
    /// forwarded.
    pub fn hold_replies(&self, holds: bool) {
        self.shared.holds_replies.send_replace(holds);
    }

    /// Delays the data that the server sends on the pub/sub connections.
    pub fn delay_messages(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap();
        self.shared.delay.store(delay, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let target = shared.target.load(Ordering::Relaxed);
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
            continue;
        };
        let is_stalled = shared.is_black_hole.load(Ordering::Relaxed);
        let connection = Arc::new(Connection {
            is_stalled: watch::Sender::new(is_stalled),
            has_subscribed: AtomicBool::new(false),
            is_from_sentinel: AtomicBool::new(false),
            is_cut: watch::Sender::new(false),
        });
        shared
            .connections
            .lock()
            .unwrap()
            .push(Arc::clone(&connection));
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let mut is_cut = connection.is_cut.subscribe();
            tokio::select! {
                () = pump(from_client, to_server, &connection, &shared, false) => {}
                () = pump(from_server, to_client, &connection, &shared, true) => {}
                _ = is_cut.wait_for(|is_cut| *is_cut) => {}
            }
        });
    }
}

/// Forwards data.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    connection: &Connection,
    shared: &Shared,
    is_from_server: bool,
) {
    let mut is_stalled = connection.is_stalled.subscribe();
    let mut holds_replies = shared.holds_replies.subscribe();
    // The data that has been received but not forwarded yet, with the time at which it is due.
    let (held, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let receiving = async move {
        let mut is_stalled = connection.is_stalled.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        let contains = |data: &[u8], text: &[u8]| data.windows(text.len()).any(|part| part == text);
        while let Ok(len @ 1..) = from.read(&mut buffer).await {
            let data = &buffer[..len];
            let mut at = Instant::now();
            if is_from_server {
                if shared.drops_messages.load(Ordering::Relaxed) && contains(data, b"message") {
                    continue;
                }
                if connection.has_subscribed.load(Ordering::Relaxed) {
                    at += Duration::from_millis(shared.delay.load(Ordering::Relaxed));
                }
            } else if contains(data, b"SUBSCRIBE") {
                connection.has_subscribed.store(true, Ordering::Relaxed);
            } else if contains(data, b"sentinel-") {
                // A sentinel first sends its name, as in `CLIENT SETNAME sentinel-5a3f1b2c-cmd`.
                connection.is_from_sentinel.store(true, Ordering::Relaxed);
                if shared.rejects_sentinels.load(Ordering::Relaxed) {
                    return;
                }
            }
            // While the connection is stalled, nothing more is read, so the sender's buffers fill up.
            if is_stalled.wait_for(|is_stalled| !is_stalled).await.is_err()
                || held.send((at, data.to_vec())).await.is_err()
            {
                break;
            }
        }
        drop(held);
        // `sending` ends once it has forwarded the rest.
        pending::<()>().await;
    };
    let sending = async move {
        while let Some((at, data)) = due.recv().await {
            sleep_until(at).await;
            if is_stalled.wait_for(|is_stalled| !is_stalled).await.is_err() {
                return;
            }
            if is_from_server && holds_replies.wait_for(|holds| !holds).await.is_err() {
                return;
            }
            if to.write_all(&data).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = receiving => {}
        () = sending => {}
    }
}
