//! Correct code that resembles a mistake and must not cause a warning.
//!
//! This file exceeds 450 lines because it is a list of cases.
#![deny(warnings)]

use std::time::Duration;

use axum::{
    Form, Json, Router,
    body::Bytes,
    http::StatusCode,
    extract::{RawForm, Request, rejection::JsonRejection},
};
use own::{std::fs, thread};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};
use tokio::task::spawn_blocking;

#[derive(serde::Serialize)]
struct Error;

impl From<std::io::Error> for Error {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

#[sse_endpoint("/json", method = POST)]
async fn json(Json(question): Json<u32>) -> impl Stream<Item = u32> {
    yield_!(question);
}

#[sse_endpoint("/bytes", method = DELETE)]
async fn bytes(body: Bytes) -> impl Stream<Item = usize> {
    yield_!(body.len());
}

/// For a `GET` request, `Form` reads the query string instead of the body.
#[sse_endpoint("/form")]
async fn form(Form(answers): Form<Vec<(String, u32)>>) -> impl Stream<Item = usize> {
    yield_!(answers.len());
}

#[sse_endpoint("/raw_form")]
async fn raw_form(RawForm(answers): RawForm) -> impl Stream<Item = usize> {
    yield_!(answers.len());
}

/// The endpoint checks whether there is a body.
#[sse_endpoint("/optional")]
async fn optional(question: Option<Json<u32>>) -> impl Stream<Item = bool> {
    yield_!(question.is_some());
}

#[sse_endpoint("/fallible")]
async fn fallible(question: Result<Json<u32>, JsonRejection>) -> impl Stream<Item = bool> {
    yield_!(question.is_ok());
}

/// `Request` also contains the head.
#[sse_endpoint("/request")]
async fn request(request: Request) -> impl Stream<Item = String> {
    yield_!(request.uri().to_string());
}

/// Blocking calls in places where blocking is allowed, calls that do not block, and user-defined functions.
#[sse_endpoint("/waits")]
async fn waits() -> impl Stream<Item = Result<String, Error>> {
    let page = spawn_blocking(|| std::fs::read_to_string("page.html")).await;
    yield_!(page.map_err(|_| Error)??);
    let page = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::ZERO);
        std::fs::read("page.html")
    });
    yield_!(page.await.map_err(|_| Error)?.map_err(|_| Error)?.len().to_string());
    let list = tokio::runtime::Handle::current().spawn_blocking(|| std::fs::read_dir("."));
    list.await.map_err(|_| Error)?.map_err(|_| Error)?;
    let read = tokio::task::spawn_blocking(reader(std::fs::read_to_string));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let thread = std::thread::spawn(move || {
        sender.blocking_send(1).ok();
        tokio::runtime::Handle::try_current().is_ok_and(|here| here.block_on(async { true }))
    });
    while receiver.recv().await.is_some() {}
    yield_!(format!("{:?}", (thread.join().is_ok(), read.await.is_ok())));

    let options = tokio::fs::OpenOptions::from(std::fs::OpenOptions::new());
    yield_!(options.open("page.html").await.is_ok().to_string());
    let ip = std::net::IpAddr::from([127, 0, 0, 1]);
    let addr = std::net::SocketAddr::new(ip, 0);
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    yield_!(std::net::Ipv4Addr::new(127, 0, 0, 1).to_string());
    yield_!(listener.local_addr()?.to_string());

    sleep(1).await;
    thread::sleep(1);
    fs::read("page.html");
    yield_!(std::thread::available_parallelism().map_or(0, usize::from).to_string());
    yield_!(own::std::fs::read("page.html").to_string());
    yield_!(own::block_on(1).to_string());
    fn later() {
        std::thread::sleep(Duration::ZERO);
    }
    tokio::task::block_in_place(later);
    let _read = std::fs::read::<&str>;
}

fn reader<T: Send>(
    read: fn(&'static str) -> T,
) -> impl FnOnce() -> T {
    move || read("page.html")
}

async fn sleep(_: u32) {}

/// User-defined functions with the same names as functions in `std`.
mod own {
    pub struct Lock;

    impl Lock {
        pub async fn read(&self) -> Option<u32> {
            None
        }

        pub async fn write(&self, value: u32) -> u32 {
            value
        }
    }
    pub mod std {
        pub mod fs {
            pub fn read(_: &str) -> u32 {
                1
            }
        }
    }

    pub mod thread {
        pub fn sleep(_: u32) {}
    }

    pub fn block_on(port: u32) -> u32 {
        port
    }
}

/// Tasks that are awaited or aborted.
#[sse_endpoint("/tasks")]
async fn tasks() -> impl Stream<Item = u32> {
    let mut set = tokio::task::JoinSet::new();
    set.spawn(std::future::ready(1));
    let task = tokio::spawn(std::future::ready(2));
    yield_!(tokio::spawn(std::future::ready(3)).await.unwrap_or(0));
    tokio::spawn(std::future::ready(4)).await.unwrap_or(0);
    let _ = tokio::spawn(std::future::ready(5)).await;
    tokio::spawn(std::future::ready(6)).abort();
    let tasks = [tokio::spawn(std::future::ready(7))];
    yield_!(tasks.len() as u32 + task.await.unwrap_or(0));
    spawn(8);
    own_tasks::tokio::spawn(9);
    let _ = spawn(10);
    while let Some(done) = set.join_next().await {
        yield_!(done.unwrap_or(0));
    }
}

fn spawn(_: u32) {}

mod own_tasks {
    pub mod tokio {
        pub fn spawn(_: u32) {}
    }
}

/// Loops that wait, yield, or end.
#[sse_endpoint("/loops")]
async fn loops() -> impl Stream<Item = Result<u32, Error>> {
    loop {
        if now() {
            break;
        }
    }
    'outer: loop {
        for _ in 0..3 {
            break 'outer;
        }
    }
    #[allow(while_true)]
    while true {
        match now() {
            true => break,
            false => continue,
        }
    }
    while now() {}
    while let true = now() {
        calculate();
    }
    loop {
        std::future::ready(()).await;
        // This `break` only leaves the inner loop. The outer loop contains an `.await`.
        'again: loop {
            if now() {
                break 'again;
            }
        }
        break;
    }
    'waits: loop {
        std::future::ready(()).await;
        loop {
            if now() {
                continue 'waits;
            }
            match now() {
                true => break 'waits,
                false => {}
            }
        }
    }
    let found = loop {
        'found: {
            if now() {
                break 'found;
            }
        }
        if now() {
            break 1;
        }
    };
    if now() {
        loop {
            yield_!(found);
        }
    }
    if now() {
        loop {
            yield_all!(tokio_stream::iter([Ok::<_, Error>(1)]));
        }
    }
    if now() {
        loop {
            "1".parse::<u32>().map_err(|_| Error)?;
        }
    }
    if now() {
        loop {
            if now() {
                return;
            }
        }
    }
    if now() {
        loop {
            if now() {
                return Err(Error);
            }
        }
    }
    // An unknown macro may contain an `.await` or leave the loop, so a loop that calls one must not cause a warning.
    if now() {
        loop {
            pause!();
        }
    }
    if now() {
        loop {
            pass!(std::future::ready(1).await);
        }
    }
    if now() {
        loop {
            tokio::select! {
                () = std::future::ready(()) => {}
            }
        }
    }
    if now() {
        loop {
            println!("{}", std::future::ready(1).await);
        }
    }
    if now() {
        loop {
            let _ = vec!["1".parse::<u32>().map_err(|_| Error)?];
        }
    }
    if now() {
        loop {
            let _ = format!("{}", pass!(std::future::ready(1).await));
        }
    }
    // These loops end when the process exits or when they panic.
    if now() {
        loop {
            if now() {
                std::process::exit(1);
            }
        }
    }
    if now() {
        loop {
            let true = now() else { end() };
        }
    }
    if now() {
        loop {
            assert!(now());
        }
    }
    if now() {
        loop {
            if now() {
                panic!("it is over");
            }
        }
    }
    if now() {
        loop {
            todo!()
        }
    }
    // These loops do not block the generator, because they run in other threads or functions.
    if now() {
        spawn_blocking(|| {
            loop {
                calculate();
            }
        })
        .await
        .unwrap_or(());
    }
    fn spin() -> ! {
        loop {}
    }
    if now() {
        spin();
    }
}

/// The first `yield_!` comes after the first `?`.
#[sse_endpoint("/refuses")]
async fn refuses() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    let one = parse("1")?;
    yield_!(one);
    yield_!(parse("2")?);
    loop {
        let three = parse("3")?;
        yield_!(three);
    }
}

/// The two error types differ, so the compiler already rejects a `?` in the wrong place, and no warning is needed.
#[sse_endpoint("/differ")]
async fn differ() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    yield_!(0);
    let one = parse("1")?;
    yield_!(one);
}

/// None of this endpoint's errors can become a status, because the endpoint does not return a `Result`.
#[sse_endpoint("/no_status")]
async fn no_status() -> impl Stream<Item = Result<u32, String>> {
    yield_!(0);
    let one = parse("1")?;
    yield_!(one);
}

/// The first `yield_!` is in a loop, so the `?` after the loop is part of the stream and could not have set the status.
#[sse_endpoint("/in_a_loop")]
async fn in_a_loop() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    for one in 0..3 {
        yield_!(one);
    }
    let four = parse("4")?;
    yield_!(four);
}

/// None of these errors end the stream, because each `?` is in a closure, an `async` block or a nested function.
#[sse_endpoint("/fails_elsewhere")]
async fn fails_elsewhere() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    yield_!(0);
    let one = || Ok::<u32, String>(parse("1")? + 1);
    let two = async { Ok::<u32, String>(parse("2")? + 1) };
    fn three() -> Result<u32, String> {
        Ok(parse("3")? + 1)
    }
    if one().is_err() || two.await.is_err() || three().is_err() {
        return;
    }
    yield_!(one().unwrap_or(0));
}

/// `emit!` is a macro that `#[sse_endpoint]` does not recognize, so it may have yielded an event
/// before the `?`.
#[sse_endpoint("/unknown_macro")]
async fn unknown_macro() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    yield_!(0);
    emit!(1);
    let one = parse("1")?;
    yield_!(one);
}

/// No `yield_!` follows the `?`, so the error is meant to end the stream.
#[sse_endpoint("/ends")]
async fn ends() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    yield_!(0);
    parse("1")?;
}

/// The loop ends when its source stream ends.
#[sse_endpoint("/finishes", on_shutdown = "finish")]
async fn finishes() -> impl Stream<Item = u32> {
    let mut ticks = tokio_stream::iter([1, 2]);
    loop {
        tokio::select! {
            tick = tokio_stream::StreamExt::next(&mut ticks) => match tick {
                Some(tick) => yield_!(tick),
                None => break,
            },
        }
    }
}

/// With `on_shutdown = "close"`, a stream may run forever, because the server closes it on shutdown.
#[sse_endpoint("/closes", on_shutdown = "close")]
async fn closes() -> impl Stream<Item = u32> {
    loop {
        yield_!(1);
    }
}

fn parse(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| text.to_owned())
}

macro_rules! emit {
    ($value:expr) => {
        yield_!($value)
    };
}
use emit;

macro_rules! pause {
    () => {
        std::future::ready(()).await
    };
}
use pause;

macro_rules! pass {
    ($expression:expr) => {
        $expression
    };
}
use pass;

fn now() -> bool {
    true
}

fn calculate() {}

fn end() -> ! {
    std::process::exit(1)
}

/// Locks whose guards are dropped before a value is yielded, and methods that have the same names as a lock's methods.
#[sse_endpoint("/locks")]
async fn locks() -> impl Stream<Item = u32> {
    let lock = tokio::sync::RwLock::new(1);
    let guard = lock.read().await;
    let tick = *guard;
    drop(guard);
    yield_!(tick);
    let tick = {
        let mut guard = lock.write().await;
        *guard += 1;
        *guard
    };
    yield_!(tick);
    yield_!(*lock.read().await);
    let tick = *lock.read().await;
    yield_!(tick);
    if *lock.read().await == 1 {
        yield_!(1);
    }
    while let Some(tick) = own::Lock.read().await {
        yield_!(tick);
        let tick = own::Lock.write(tick).await;
        yield_!(tick);
    }
}

fn main() {
    let _: Router = Router::new()
        .sse(locks)
        .sse(json)
        .sse(bytes)
        .sse(form)
        .sse(raw_form)
        .sse(optional)
        .sse(fallible)
        .sse(request)
        .sse(waits)
        .sse(tasks)
        .sse(loops)
        .sse(refuses)
        .sse(differ)
        .sse(no_status)
        .sse(in_a_loop)
        .sse(fails_elsewhere)
        .sse(unknown_macro)
        .sse(ends)
        .sse(finishes)
        .sse(closes);
}
