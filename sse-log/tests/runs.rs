//! Tests runs whose process stops.

#![allow(clippy::unwrap_used)]

mod support;

use std::future::pending;

use sse_log::Log;
use sse_runtime::{
    Hub, Start, Topic,
    topic::{PublishError, Subscription},
};
use support::recv;
use tempfile::tempdir;
use tokio::runtime::Runtime;

async fn take(run: &mut Subscription<u64>, count: u64) -> Vec<u64> {
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(recv(run).await.unwrap().unwrap().1);
    }
    values
}

#[test]
fn run_is_continued_after_a_restart() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let mut last_id = None;
    // Each round is a process that publishes two events, and then stops.
    for round in 0..4 {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let log = Log::open(&path).await.unwrap();
            let hub: Hub<u64> = Hub::builder(Topic::builder).engine(&log, "runs").build();
            let producer =
                move |topic: Topic<u64>, so_far: Vec<sse_runtime::topic::Update<u64>>| async move {
                    let so_far: Vec<u64> = so_far.iter().map(|update| **update).collect();
                    assert_eq!(so_far, Vec::from_iter(0..round * 2));
                    topic.publish(&(round * 2)).await?;
                    topic.publish(&(round * 2 + 1)).await?;
                    if round < 3 {
                        pending::<()>().await;
                    }
                    Ok::<(), PublishError>(())
                };
            let run = match last_id.clone() {
                None => hub.spawn_or_resume("a", Start::First, producer),
                // A client with an id continues the run as well.
                Some(id) => hub.spawn_or_resume("a", id, producer),
            };
            let mut run = run.await.unwrap();
            assert_eq!(take(&mut run, 2).await, [round * 2, round * 2 + 1]);
            last_id = Some(run.position());
            if round == 3 {
                assert!(recv(&mut run).await.is_none());
                assert!(!run.has_failed());
            }
        });
    }
}
