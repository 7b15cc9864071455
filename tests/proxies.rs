//! Behind the real nginx, HAProxy and Caddy, with the files that the docs show: no event waits, a client's leaving
//! arrives, and so does a clean end; a quiet stream stays.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

mod support;

use std::{
    env, fs,
    future::pending,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use sse_runtime::{RouterExt as _, Shutdown, Stream, Text, sse_endpoint};
use support::{BrokenOff, Client, Generators, server_of, soon, within};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::Notify,
    task::AbortHandle,
};

/// What the endpoints share with their test.
#[derive(Clone, Debug)]
struct World {
    generators: Generators,
    /// Lets the generator yield its next.
    next: Arc<Notify>,
    /// How many pieces of `much` were taken.
    taken: Arc<AtomicU32>,
}

/// Yields a number, and the next one only after the test has asked for it: a proxy that waits for more waits for ever.
#[sse_endpoint("/asked", keep_alive = "off")]
async fn asked(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    for number in 1.. {
        yield_!(number);
        world.next.notified().await;
    }
}

/// The same, to a POST.
#[sse_endpoint("/asked", method = POST, keep_alive = "off")]
async fn asked_by_post(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    for number in 1.. {
        yield_!(number);
        world.next.notified().await;
    }
}

/// Quiet, but alive.
#[sse_endpoint("/alive", keep_alive = "500ms")]
async fn alive(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    yield_!(1);
    world.next.notified().await;
    yield_!(2);
}

/// Says more about itself at its end only, when it is told that the server stops.
#[sse_endpoint("/quiet", keep_alive = "off")]
async fn quiet(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// What `much` yields at a time.
const PIECE: usize = 64 * 1024;

/// More than anybody should take for a client that does not.
const PIECES: u32 = 4_096;

/// Says as much as it can.
#[sse_endpoint("/much")]
async fn much(State(world): State<World>) -> impl Stream<Item = Text<String>> {
    let _running = world.generators.enter();
    for taken in 1..=PIECES {
        yield_!(Text("x".repeat(PIECE)));
        world.taken.store(taken, Ordering::Relaxed);
    }
}

/// Who the client is, as the proxy has it.
#[sse_endpoint("/address")]
async fn address(headers: HeaderMap) -> impl Stream<Item = Text<String>> {
    let given: Vec<_> = headers.get_all("x-real-ip").iter().collect();
    let given: Result<Vec<_>, _> = given.iter().map(|value| value.to_str()).collect();
    yield_!(Text(given.unwrap_or_default().join(" ")));
}

/// Fails as nobody foresaw.
#[sse_endpoint("/broken", keep_alive = "off")]
async fn broken(State(world): State<World>) -> impl Stream<Item = u32> {
    yield_!(1);
    world.next.notified().await;
    panic!("on purpose");
}

/// Two servers of one app, as the files of the proxies have them.
struct Servers {
    addrs: [SocketAddr; 2],
    /// The first of them.
    first: AbortHandle,
    world: World,
    shutdown: Shutdown,
}

impl Servers {
    async fn start() -> Self {
        let shutdown = Shutdown::within(Duration::from_millis(500));
        let world = World {
            generators: Generators::new(),
            next: Arc::new(Notify::new()),
            taken: Arc::new(AtomicU32::new(0)),
        };
        let app = Router::new()
            .sse(asked)
            .sse(asked_by_post)
            .sse(alive)
            .sse(quiet)
            .sse(much)
            .sse(address)
            .sse(broken)
            .layer(shutdown.clone())
            .route("/readyz", get(StatusCode::OK))
            .with_state(world.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addrs = [
            listener.local_addr().unwrap(),
            support::serve(app.clone()).await,
        ];
        let first = tokio::spawn(server_of(app).serve(listener)).abort_handle();
        Self {
            addrs,
            first,
            world,
            shutdown,
        }
    }

    /// Until the first of them refuses connections.
    async fn until_first_refuses(&self) {
        self.first.abort();
        within("the listener to close", async {
            while TcpStream::connect(self.addrs[0]).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A proxy, as the docs have it.
#[derive(Clone, Copy, Debug)]
struct Kind {
    program: &'static str,
    file: &'static str,
    /// Where it listens, and where it does in a test, at a `PORT` of its own.
    listens: (&'static str, &'static str),
    /// The same for HTTP/2, which browsers speak over TLS alone.
    listens_to_http2: (&'static str, &'static str),
    /// Its timeout of servers that say nothing.
    silence: (&'static str, &'static str),
    /// What has to be otherwise for a process without rights, in a folder of its own.
    private: &'static [(&'static str, &'static str)],
    args: &'static [&'static str],
}

const NGINX: Kind = Kind {
    program: "nginx",
    file: include_str!("../sse-runtime/docs/proxies/nginx.conf"),
    listens: ("listen 8080;", "listen 127.0.0.1:PORT;"),
    listens_to_http2: ("listen 8080;", "listen 127.0.0.1:PORT http2;"),
    silence: ("proxy_read_timeout 60s;", "proxy_read_timeout 2s;"),
    private: &[(
        "\nhttp {\n",
        "\nhttp {\naccess_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n",
    )],
    // One process, so that to end it by its id is to end all of it.
    args: &[
        "-p",
        "DIR",
        "-e",
        "stderr",
        "-g",
        "daemon off; master_process off; pid pid;",
        "-c",
        "FILE",
    ],
};

const HAPROXY: Kind = Kind {
    program: "haproxy",
    file: include_str!("../sse-runtime/docs/proxies/haproxy.cfg"),
    listens: ("bind :8080\n", "bind 127.0.0.1:PORT\n"),
    listens_to_http2: ("bind :8080\n", "bind 127.0.0.1:PORT proto h2\n"),
    silence: ("timeout server 60s\n", "timeout server 2s\n"),
    // It does not start where the system allows fewer files than that.
    private: &[("maxconn 20000\n", "maxconn 200\n")],
    args: &["-db", "-f", "FILE"],
};

const CADDY: Kind = Kind {
    program: "caddy",
    file: include_str!("../sse-runtime/docs/proxies/Caddyfile"),
    listens: ("\n:8080 {\n", "\n:PORT {\nbind 127.0.0.1\n"),
    listens_to_http2: ("\n:8080 {\n", "\n:PORT {\nbind 127.0.0.1\n"),
    silence: ("read_timeout 60s\n", "read_timeout 2s\n"),
    private: &[(
        "\n{\n",
        "\n{\nadmin off\nservers {\nprotocols h1 h2 h2c\n}\n",
    )],
    args: &["run", "--adapter", "caddyfile", "--config", "FILE"],
};

/// A proxy that runs, in a folder of its own.
struct Proxy {
    addr: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Proxy {
    /// Starts it with the file of the docs, in which the `changes` are made, in front of `servers`; `None` where it is
    /// not installed, which is said.
    async fn start(kind: Kind, servers: [SocketAddr; 2], changes: &[(&str, &str)]) -> Option<Self> {
        // Not all know `--version`; what is told is that they start.
        let there = Command::new(kind.program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if there.await.is_err() {
            let skipped = format!(
                "SKIPPED: no {}; `cargo xtask test proxies` installs it\n",
                kind.program
            );
            // Past the harness, which shows nothing of a test that passes.
            let _ = std::io::stderr().write_all(skipped.as_bytes());
            return None;
        }
        // Between the choice of a port and its use somebody else may take it.
        for _ in 0..4 {
            if let Ok(proxy) = Self::try_start(kind, servers, changes).await {
                return Some(proxy);
            }
        }
        let proxy = Self::try_start(kind, servers, changes).await;
        Some(proxy.unwrap_or_else(|log| panic!("{} does not start: {log}", kind.program)))
    }

    /// It, or what it says where it has ended.
    async fn try_start(
        kind: Kind,
        servers: [SocketAddr; 2],
        changes: &[(&str, &str)],
    ) -> Result<Self, String> {
        static PROXIES: AtomicU32 = AtomicU32::new(0);
        let number = PROXIES.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!(
            "sse-{}-{}-{number}",
            kind.program,
            std::process::id()
        ));
        fs::create_dir(&folder).unwrap();
        let addr = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };

        let (was, listens) = kind.listens;
        let mut file = changed(
            kind.file,
            was,
            &listens.replace("PORT", &addr.port().to_string()),
        );
        for (server, was) in servers.iter().zip(["127.0.0.1:3000", "127.0.0.1:3001"]) {
            file = changed(&file, was, &server.to_string());
        }
        for (was, is) in kind.private.iter().chain(changes) {
            file = changed(&file, was, is);
        }
        let path = folder.join("config");
        fs::write(&path, file).unwrap();

        let args = kind.args.iter().map(|argument| match *argument {
            "DIR" => folder.as_os_str(),
            "FILE" => path.as_os_str(),
            other => other.as_ref(),
        });
        let child = Command::new(kind.program)
            .args(args)
            .env("HOME", &folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut proxy = Self {
            addr,
            child,
            folder,
        };
        if within("the proxy to listen", proxy.listens()).await {
            Ok(proxy)
        } else {
            Err(proxy.log())
        }
    }

    /// Whether it listens at last; it does not where it has ended.
    async fn listens(&mut self) -> bool {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(self.addr).await.is_ok() {
                return true;
            }
            // There is nothing that tells.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A client whose stream has begun.
    async fn get(&self, path: &str) -> Frames {
        Frames::of(Client::get(self.addr, path).await).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `file` with `is` in the one place where `was` stands.
fn changed(file: &str, was: &str, is: &str) -> String {
    assert_eq!(file.matches(was).count(), 1, "{was:?} in {file}");
    file.replace(was, is)
}

/// A client that reads frames, however the proxy has cut them into chunks.
struct Frames {
    client: Client,
    text: String,
}

impl Frames {
    /// Reads the head of a stream that begins.
    async fn of(mut client: Client) -> Self {
        let head = client.head().await;
        assert_eq!(head.status_line, "HTTP/1.1 200 OK");
        assert_eq!(head.get("content-type"), Some("text/event-stream"));
        assert_eq!(head.get("content-encoding"), None);
        Self {
            client,
            text: String::new(),
        }
    }

    /// The next frame; `None` at the clean end.
    async fn next(&mut self) -> Result<Option<String>, BrokenOff> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                return Ok(Some(std::mem::replace(&mut self.text, rest)));
            }
            let Some(chunk) = self.client.chunk().await? else {
                assert_eq!(self.text, "", "half a frame at a clean end");
                return Ok(None);
            };
            self.text.push_str(&chunk);
        }
    }

    async fn expect(&mut self, frame: &str) {
        assert_eq!(self.next().await, Ok(Some(frame.to_owned())));
    }
}

fn number(number: u32) -> String {
    format!("data: {number}\n\n")
}

/// The head and the first event arrive before the generator has a second one, and so does each that follows.
async fn no_event_waits_for_the_next(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/asked").await;
    frames.expect(&number(1)).await;
    // Had each to wait in the kernel for 200 ms, the last would be too late.
    soon("twelve events", async {
        for asked in 2..14 {
            servers.world.next.notify_one();
            frames.expect(&number(asked)).await;
        }
    })
    .await;
}

async fn a_browser_that_takes_compression_gets_events_at_once(kind: Kind) {
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

/// The generator is dropped at once, though it has nothing to say that would fail.
async fn a_client_that_leaves_is_noticed(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/asked").await;
    frames.expect(&number(1)).await;
    assert_eq!(servers.world.generators.count().alive, 1);
    drop(frames);
    servers.world.generators.until_alive(0).await;

    let mut frames = Frames::of(Client::post(proxy.addr, "/asked", 2, b"{}").await).await;
    frames.expect(&number(1)).await;
    assert_eq!(servers.world.generators.count().alive, 1);
    drop(frames);
    servers.world.generators.until_alive(0).await;
}

/// What the server ends in peace does not look broken to the client.
async fn a_clean_end_stays_one(kind: Kind) {
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

/// What breaks off on the way does not look like an end. Not for Caddy: Debian's, 2.6, makes an end of it.
async fn a_stream_that_breaks_off_is_no_clean_end(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let mut frames = proxy.get("/broken").await;
    frames.expect(&number(1)).await;
    servers.world.next.notify_one();
    assert_eq!(frames.next().await, Err(BrokenOff));
}

/// Over one connection a browser has more streams than six, and to leave one of them leaves the others alone.
async fn one_connection_has_many_streams_over_http2(kind: Kind) {
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

/// The server is told who the client is, and by nobody but the proxy.
async fn the_address_of_the_client_arrives(kind: Kind) {
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

/// A client that does not read holds its generator, through the buffers of the proxy and of two sockets.
async fn a_client_that_does_not_read_is_felt(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    let client = proxy.get("/much").await;
    let taken = || servers.world.taken.load(Ordering::Relaxed);
    within("the generator to be held", async {
        let mut before = 0;
        while before == 0 || before < taken() {
            before = taken();
            // That nothing happens is told by the clock alone. Where it is wrong, the test passes.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let taken = taken();
    assert!(taken < PIECES / 4, "{taken} pieces were taken");
    assert_eq!(servers.world.generators.count().alive, 1);
    drop(client);
    servers.world.generators.until_alive(0).await;
}

/// The timeout of the file, made short, ends a stream that says nothing, and not one that has its keep-alive.
async fn a_quiet_stream_stays_by_its_keep_alive(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[kind.silence]).await else {
        return;
    };
    let mut silent = proxy.get("/quiet").await;
    silent.expect(&number(1)).await;
    let mut alive = proxy.get("/alive").await;
    alive.expect(&number(1)).await;

    // The proxy ends it, and the server hears of it.
    let end = silent.next().await;
    assert!(matches!(end, Err(BrokenOff) | Ok(None)), "{end:?}");
    servers.world.generators.until_alive(1).await;
    // Twice the time that the other one had.
    for _ in 0..8 {
        alive.expect(":\n\n").await;
    }
    servers.world.next.notify_one();
    alive.expect(&number(2)).await;
    assert_eq!(alive.next().await, Ok(None));
}

/// A server that is gone is passed over, and no client hears of it.
async fn a_server_that_refuses_is_passed_over(kind: Kind) {
    let servers = Servers::start().await;
    let Some(proxy) = Proxy::start(kind, servers.addrs, &[]).await else {
        return;
    };
    servers.until_first_refuses().await;
    // Before its health check could tell it.
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut frames = proxy.get("/quiet").await;
        frames.expect(&number(1)).await;
        streams.push(frames);
    }
    servers.world.generators.until_alive(4).await;
}

/// A server in a process of its own, which gets signals.
struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            // It goes on accepting for a minute, and says that it does not want to.
            .args(["60000", "100"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the server to start", lines.next_line()).await;
        let addr = line.unwrap().unwrap().parse().unwrap();
        Self { child, addr }
    }

    fn id(&self) -> String {
        self.child.id().expect("a process that runs").to_string()
    }
}

/// After SIGTERM a server gets no new streams, and those that it has go on.
async fn a_server_that_is_not_ready_is_left_alone(kind: Kind) {
    let servers = [Process::start().await, Process::start().await];
    let Some(proxy) = Proxy::start(kind, [servers[0].addr, servers[1].addr], &[]).await else {
        return;
    };
    let answers = async || Client::get(proxy.addr, "/id").await.read_to("\n.").await;
    let mut early = [proxy.get("/quiet").await, proxy.get("/quiet").await];
    for frames in &mut early {
        frames.expect(&number(1)).await;
    }
    for server in &servers {
        let id = format!("\n{}\n.", server.id());
        within("each server to answer", async {
            while !answers().await.contains(&id) {}
        })
        .await;
    }

    let stopped = servers[0].id();
    let killed = Command::new("kill").args(["-s", "TERM", &stopped]).status();
    assert!(killed.await.unwrap().success());
    let other = format!("\n{}\n.", servers[1].id());
    within("the other server to answer alone", async {
        // By turns or by counts, so many in a row are no chance.
        let mut in_a_row = 0;
        while in_a_row < 50 {
            in_a_row = if answers().await.contains(&other) {
                in_a_row + 1
            } else {
                0
            };
        }
    })
    .await;

    for frames in &mut early {
        let more = tokio::time::timeout(Duration::from_millis(100), frames.next()).await;
        assert!(more.is_err(), "the stream goes on, found {more:?}");
    }
}

/// The name by which `cargo xtask test` leaves these out of the step `sockets`, since they have one of their own.
mod behind {
    /// The tests named, as they are for this proxy.
    macro_rules! proxy {
        ($name:ident = $kind:ident: $($test:ident)*) => {
            mod $name {
                $(
                    #[tokio::test]
                    async fn $test() {
                        crate::$test(crate::$kind).await;
                    }
                )*
            }
        };
    }

    proxy!(nginx = NGINX:
        no_event_waits_for_the_next
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_does_not_read_is_felt
        one_connection_has_many_streams_over_http2
        the_address_of_the_client_arrives
        a_clean_end_stays_one
        a_stream_that_breaks_off_is_no_clean_end
        a_quiet_stream_stays_by_its_keep_alive
        a_server_that_refuses_is_passed_over
    );
    proxy!(haproxy = HAPROXY:
        no_event_waits_for_the_next
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_does_not_read_is_felt
        one_connection_has_many_streams_over_http2
        the_address_of_the_client_arrives
        a_clean_end_stays_one
        a_stream_that_breaks_off_is_no_clean_end
        a_quiet_stream_stays_by_its_keep_alive
        a_server_that_refuses_is_passed_over
        a_server_that_is_not_ready_is_left_alone
    );
    proxy!(caddy = CADDY:
        no_event_waits_for_the_next
        a_browser_that_takes_compression_gets_events_at_once
        a_client_that_leaves_is_noticed
        a_client_that_does_not_read_is_felt
        one_connection_has_many_streams_over_http2
        the_address_of_the_client_arrives
        a_clean_end_stays_one
        a_quiet_stream_stays_by_its_keep_alive
        a_server_that_refuses_is_passed_over
        a_server_that_is_not_ready_is_left_alone
    );
}
