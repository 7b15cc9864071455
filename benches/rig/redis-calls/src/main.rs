//! Publishes to Redis, with and without this project, and prints the number of calls per second
//! and the latency in microseconds as JSON.
//!
//! | arguments | call |
//! | --- | --- |
//! | `URL publish SECONDS IN-FLIGHT` | `Topic::publish` |
//! | `URL pipeline SECONDS IN-FLIGHT` | `XADD` and `PUBLISH` in one pipeline |
//! | `URL script SECONDS IN-FLIGHT` | the script with which `sse-redis` appends an event |
//! | `URL ping SECONDS RATE` | `PING`, at most `RATE` times per second |
//!
//! `IN-FLIGHT` is the number of calls that are made at the same time. Only `publish` also receives
//! the messages that it publishes.

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use peer::Tick;
use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo as _, ProtocolVersion, Value,
    aio::MultiplexedConnection, cmd, pipe,
};
use sse_redis::Redis;
use sse_runtime::{Topic, topic::Key};
use tokio::time::{MissedTickBehavior, interval};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The names that `sse-redis` uses for the topic `ticks`.
const KEYS: [&str; 4] = [
    "sse:log:ticks",
    "sse:keys:ticks",
    "sse:run:ticks",
    "sse:leases",
];
const CHANNEL: &str = "sse:feed:0:ticks";

/// The default limits of a topic, and the maximum size of a message.
const EVENTS: u64 = 1024;
const BYTES: u64 = 64 * 1024 * 1024;
const MAX_MESSAGE_BODY: u64 = 16 * 1024;

/// How long to run before the measurement starts.
const WARM_UP: Duration = Duration::from_millis(500);

// The caller and the tasks of the connection share a thread, as in a server whose runtime has one
// worker. With the default runtime, the main thread would call, and a worker would run the tasks.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    println!("{}", run().await?);
    Ok(())
}

async fn run() -> Result<serde_json::Value> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [url, call, seconds, count] = arguments[..] else {
        return Err("usage: redis-calls URL CALL SECONDS COUNT".into());
    };
    let time = Duration::from_secs_f64(seconds.parse()?);
    match call {
        "publish" => publish(url, time, count.parse()?).await,
        "pipeline" => pipeline(url, time, count.parse()?).await,
        "script" => script(url, time, count.parse()?).await,
        "ping" => ping(url, time, count.parse()?).await,
        _ => Err(format!("unknown call `{call}`").into()),
    }
}

/// Opens a connection with the same settings as `sse-redis`.
async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let info = url.into_connection_info()?;
    let redis = info.redis_settings().clone();
    let info = info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP3));
    let client = Client::open(info)?;
    let connection = client.get_multiplexed_async_connection_with_config(&settings);
    Ok(connection.await?)
}

async fn publish(url: &str, time: Duration, in_flight: usize) -> Result<serde_json::Value> {
    let redis = Redis::open(url).await?;
    let topic: Topic<Tick> = Topic::open(&redis, "ticks").await?;
    let publish = async |seq| Ok(topic.publish(&Tick::new(seq)).await.map(drop)?);
    measure(time, in_flight, publish).await
}

async fn pipeline(url: &str, time: Duration, in_flight: usize) -> Result<serde_json::Value> {
    let connection = connect(url).await?;
    let publish = async |seq| {
        let body = serde_json::to_vec(&Tick::new(seq))?;
        let mut pipe = pipe();
        pipe.cmd("XADD").arg("ticks");
        pipe.arg("MAXLEN").arg("~").arg(EVENTS);
        pipe.arg("*").arg("data").arg(&body).ignore();
        pipe.cmd("PUBLISH").arg(CHANNEL).arg(&body).ignore();
        Ok(pipe.query_async::<()>(&mut connection.clone()).await?)
    };
    measure(time, in_flight, publish).await
}

/// Calls the script with the arguments that `sse-redis` passes to it. All events have the same
/// body, which is that of an event published by `sse-redis`.
async fn script(url: &str, time: Duration, in_flight: usize) -> Result<serde_json::Value> {
    let mut connection = connect(url).await?;
    let body = stored_body(url, &mut connection).await?;
    let code = concat!(
        include_str!("../../../../sse-redis/src/scripts/shared.lua"),
        include_str!("../../../../sse-redis/src/scripts/append.lua"),
    );
    let mut load = cmd("SCRIPT");
    let hash: String = load
        .arg("LOAD")
        .arg(code)
        .query_async(&mut connection)
        .await?;
    let append = async |_| {
        let key = Key::random().to_bytes();
        let command = append_command(&hash, &key, &body);
        let reply: Vec<Value> = command.query_async(&mut connection.clone()).await?;
        match reply.first() {
            Some(Value::BulkString(outcome)) if outcome == b"new" => Ok(()),
            outcome => Err(format!("the script did not store the event: {outcome:?}").into()),
        }
    };
    measure(time, in_flight, append).await
}

/// Publishes an event through `sse-redis`, disconnects, and returns the body that was stored.
async fn stored_body(url: &str, connection: &mut MultiplexedConnection) -> Result<Vec<u8>> {
    let redis = Redis::open(url).await?;
    let topic: Topic<Tick> = Topic::open(&redis, "ticks").await?;
    topic.publish(&Tick::new(1_000)).await?;
    let mut newest = cmd("XREVRANGE");
    newest.arg(KEYS[0]).arg("+").arg("-").arg("COUNT").arg(1);
    let entries: Vec<(String, Vec<Vec<u8>>)> = newest.query_async(connection).await?;
    let [(_, fields)] = &entries[..] else {
        return Err("the topic's log is empty".into());
    };
    let body = fields.iter().skip_while(|field| *field != b"b").nth(1);
    Ok(body.ok_or("the newest entry has no body")?.clone())
}

fn append_command(hash: &str, key: &[u8], body: &[u8]) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(hash).arg(KEYS.len()).arg(&KEYS);
    // The first argument is the epoch of a new log.
    command.arg(1).arg(key).arg("b").arg(body);
    command.arg(EVENTS).arg(BYTES).arg("");
    command.arg(CHANNEL).arg(MAX_MESSAGE_BODY).arg("0");
    command.arg("ticks").arg("");
    command
}

async fn ping(url: &str, time: Duration, rate: u32) -> Result<serde_json::Value> {
    let connection = connect(url).await?;
    let mut every = interval(Duration::from_secs(1) / rate);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < WARM_UP + time {
        every.tick().await;
        let sent = Instant::now();
        cmd("PING")
            .query_async::<Value>(&mut connection.clone())
            .await?;
        if start.elapsed() > WARM_UP {
            latencies.push(sent.elapsed());
        }
    }
    Ok(figures(latencies, time))
}

/// Makes calls until the time is over, and returns the figures.
async fn measure(
    time: Duration,
    in_flight: usize,
    call: impl AsyncFn(u64) -> Result<()>,
) -> Result<serde_json::Value> {
    let timed = async |seq| {
        let sent = Instant::now();
        call(seq).await?;
        Result::Ok(sent.elapsed())
    };
    let mut seqs = 0..;
    let mut calls = FuturesUnordered::new();
    calls.extend(seqs.by_ref().take(in_flight).map(timed));
    let warm_up = Instant::now();
    while warm_up.elapsed() < WARM_UP {
        calls.next().await.transpose()?;
        calls.extend(seqs.next().map(timed));
    }
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        latencies.extend(calls.next().await.transpose()?);
        calls.extend(seqs.next().map(timed));
    }
    Ok(figures(latencies, start.elapsed()))
}

fn figures(mut latencies: Vec<Duration>, time: Duration) -> serde_json::Value {
    latencies.sort_unstable();
    let quantile = |quantile: f64| {
        let index = (latencies.len() as f64 * quantile) as usize;
        let latency = latencies.get(index).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e6
    };
    serde_json::json!({
        "calls/s": latencies.len() as f64 / time.as_secs_f64(),
        "p50 us": quantile(0.5),
        "p99 us": quantile(0.99),
    })
}
