//! Code shared by the rig's servers: the clock, the payload, the publisher, and the handling of the
//! load generator's control requests.

use std::{
    env,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Returns the time in nanoseconds. The load generator reads the same clock.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// The payload of every event.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Tick {
    pub seq: u64,
    /// The time at which the tick was created. The load generator subtracts this time from the time
    /// of arrival to obtain the latency.
    pub t: u64,
    pub price: f64,
    pub symbol: String,
}

impl Tick {
    pub fn new(seq: u64) -> Self {
        Self {
            seq,
            t: now(),
            price: 123.45,
            symbol: "ACME".to_owned(),
        }
    }
}

/// Appends the frame of a [`Tick`] without using serde.
pub fn write_frame(out: &mut Vec<u8>, seq: u64) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b"data: {\"seq\":");
    out.extend_from_slice(number.format(seq).as_bytes());
    out.extend_from_slice(b",\"t\":");
    out.extend_from_slice(number.format(now()).as_bytes());
    out.extend_from_slice(b",\"price\":123.45,\"symbol\":\"ACME\"}\n\n");
}

static RATE: AtomicU64 = AtomicU64::new(0);
static PUBLISHED: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicI64 = AtomicI64::new(0);
static CHANGED: Notify = Notify::const_new();

/// The query of `/rate`.
#[derive(serde::Deserialize)]
pub struct Rate {
    /// Events per second.
    pub r: u64,
}

/// The query of `/burst`.
#[derive(serde::Deserialize)]
pub struct Burst {
    /// The number of events.
    pub n: u64,
}

/// Sets the rate of [`publish`]. Returns the response to `/rate`.
pub fn set_rate(rate: &Rate) -> String {
    RATE.store(rate.r, Relaxed);
    CHANGED.notify_one();
    stats()
}

/// Returns the response to `/stats`.
pub fn stats() -> String {
    let (published, open) = (PUBLISHED.load(Relaxed), OPEN.load(Relaxed));
    format!("{{\"published\":{published},\"open\":{open}}}")
}

/// A guard that counts a stream as open until it is dropped.
pub struct Open(());

impl Open {
    #[expect(clippy::new_without_default, reason = "creating it has a side effect")]
    pub fn new() -> Self {
        OPEN.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

/// The times at which events are due, according to the requested rate.
struct Schedule {
    /// The number of the next event.
    seq: u64,
    /// When the next event is due.
    next: Instant,
}

impl Schedule {
    fn new() -> Self {
        Self {
            seq: 0,
            next: Instant::now(),
        }
    }

    /// Waits until the next event is due, counts the event as published, and returns its number.
    /// After a delay, returns immediately for each overdue event.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe. If the future is dropped, no event is skipped.
    async fn due(&mut self) -> u64 {
        loop {
            let rate = RATE.load(Relaxed);
            if rate == 0 {
                CHANGED.notified().await;
                self.next = Instant::now();
                continue;
            }
            tokio::select! {
                () = sleep_until(self.next) => {}
                () = CHANGED.notified() => {
                    self.next = Instant::now();
                    continue;
                }
            }
            self.next += Duration::from_nanos(1_000_000_000 / rate);
            let seq = self.seq;
            self.seq += 1;
            PUBLISHED.store(self.seq, Relaxed);
            return seq;
        }
    }
}

/// Publishes at the requested rate. After a delay, publishes all overdue events at once to catch up
/// with the schedule.
pub async fn publish(mut publish: impl FnMut(u64)) {
    let mut schedule = Schedule::new();
    loop {
        publish(schedule.due().await);
    }
}

/// The maximum number of events that [`publish_concurrently`] publishes at the same time.
const IN_FLIGHT: usize = 4096;

/// Like [`publish`], but for an asynchronous `publish` function. An event is published when it is
/// due, even if earlier events are still being published, up to [`IN_FLIGHT`] events at a time.
pub async fn publish_concurrently<F>(mut publish: impl FnMut(u64) -> F)
where
    F: Future<Output = ()>,
{
    let mut schedule = Schedule::new();
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            seq = schedule.due(), if in_flight.len() < IN_FLIGHT => in_flight.push(publish(seq)),
            Some(()) = in_flight.next() => {}
        }
    }
}

/// Returns the first argument.
///
/// # Panics
///
/// Panics if the argument is missing or is not a port.
pub fn port() -> u16 {
    let port = env::args()
        .nth(1)
        .expect("the first argument must be the port");
    port.parse().expect("a port")
}

/// Returns whether `word` is among the arguments after the port.
pub fn has_flag(word: &str) -> bool {
    env::args().skip(2).any(|argument| argument == word)
}

/// Returns the argument that follows `word` among the arguments after the port.
pub fn value_of(word: &str) -> Option<String> {
    let mut arguments = env::args().skip(2);
    arguments.find(|argument| argument == word)?;
    arguments.next()
}
