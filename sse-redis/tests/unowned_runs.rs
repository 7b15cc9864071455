//! Tests topics whose runs have no owner, and runs whose readers are all on other nodes.

#![allow(clippy::unwrap_used)]

mod support;

use std::{future::pending, sync::Arc, time::Duration};

use sse_redis::Redis;
use sse_runtime::{Hub, Start, Topic, topic::HubBuilder};
use support::{recv, server::Server, until};
use tokio::time::sleep;

/// The time after which a lost run is ended. It must be longer than the delay after which a node
/// reconnects to Redis.
const TTL: Duration = Duration::from_secs(3);

async fn open(server: &Server) -> HubBuilder<u64> {
    let redis = Redis::builder().run_ttl(TTL).open(server.url()).await;
    Hub::builder(Topic::builder).engine(&redis.unwrap(), "runs")
}

/// The process that was about to execute the run has withdrawn its claim, after another one had
/// already subscribed.
#[tokio::test]
async fn reader_of_a_withdrawn_run_does_not_wait_forever() {
    let server = Server::in_memory().await;
    let runs = open(&server).await.build();
    let _: () = server
        .run(&["HSET", "sse:run:runs/a", "owner", "another process"])
        .await;
    let _: () = server.run(&["ZADD", "sse:leases", "9e12", "runs/a"]).await;
    let run = runs.spawn("a", Start::First, async |_| unreachable!());
    let mut reader = run.await.unwrap();
    let _: () = server.run(&["DEL", "sse:run:runs/a", "sse:leases"]).await;
    assert!(recv(&mut reader).await.is_none());
    assert!(reader.has_failed());
}

#[tokio::test]
async fn topic_without_a_run_is_not_aborted() {
    let server = Server::in_memory().await;
    let (here, there) = (open(&server).await.build(), open(&server).await.build());
    let topic = here.topic("a").await.unwrap();
    topic.publish(&1).await.unwrap();
    assert!(!there.abort("a").await.unwrap());
    let leases: u64 = server.run(&["ZCARD", "sse:leases"]).await;
    assert_eq!(leases, 0, "the topic would be ended when the lease expires");
    topic.publish(&2).await.unwrap();
}

#[tokio::test]
async fn merged_readers_keep_a_run_alive() {
    let server = Server::in_memory().await;
    let after = Duration::from_millis(100);
    let here = open(&server).await.abandon_after(after).build();
    let there = open(&server).await.abandon_after(after).build();
    let alive = Arc::new(());
    let in_progress = Arc::clone(&alive);
    let run = here.spawn("a", Start::First, |_| async move {
        let _alive = in_progress;
        pending::<()>().await;
    });
    let merged = there.subscribe(["a", "b"], Start::Now);
    let (run, merged) = tokio::join!(run, merged);
    drop(run.unwrap());
    sleep(TTL * 2).await;
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(merged.unwrap());
    until("the run is abandoned", async || {
        Arc::strong_count(&alive) == 1
    })
    .await;
}
