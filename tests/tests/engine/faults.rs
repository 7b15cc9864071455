//! Single faults, each with the sequence of events that it takes.

use std::time::Duration;

use sse_runtime::{
    Start, Topic,
    topic::{GapReason, Subscription, engine::Node},
};
use tokio::time::timeout;

use super::fake::Fake;

async fn values(reader: &mut Subscription<u64>) -> Vec<Result<u64, GapReason>> {
    let mut seen = Vec::new();
    while let Ok(Some(next)) = timeout(Duration::from_secs(1), reader.recv()).await {
        seen.push(next.map(|update| *update).map_err(|gap| gap.reason()));
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn subscription_outlives_the_topic_handle() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let mut reader = Topic::<u64>::open(&node, "x")
        .await
        .unwrap()
        .subscribe(Start::Now);
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    topic.publish(&7).await.unwrap();
    assert_eq!(values(&mut reader).await, [Ok(7)]);
    drop((reader, topic));
    // The topic is closed.
    let reads = fake.reads();
    let _topic = Topic::<u64>::open(&node, "x").await.unwrap();
    assert_eq!(fake.reads(), reads + 1);
}
