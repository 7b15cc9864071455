//! Clients that resume stored topics with nothing but their ID.

use std::{
    future::pending,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use sse_runtime::{
    EventId, Hub, Start, Topic,
    topic::{GapReason, Subscription, engine::Node},
};

use super::fake::Fake;

fn read(updates: &mut Subscription<u64>) -> Vec<Result<u64, GapReason>> {
    let mut read = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(seen)) = pin!(updates.recv()).poll(&mut cx) {
        read.push(seen.map(|update| *update).map_err(|gap| gap.reason()));
    }
    read
}

/// Each hub stands for a process that has the topics open.
fn hub(node: &Node) -> Hub<u64> {
    Hub::builder(Topic::<u64>::builder)
        .engine(node, "hub")
        .named_ids()
        .build()
}

#[tokio::test(start_paused = true)]
async fn lost_run_ends_for_a_client_with_only_an_id() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    let (first, second) = (hub(&node), hub(&node));
    let run = first.spawn("a/b", Start::First, |topic| async move {
        topic.publish(&1).await.unwrap();
        topic.publish(&2).await.unwrap();
        pending::<()>().await;
    });
    let mut run = run.await.unwrap();
    let one = run.next().await.unwrap().id().clone();
    assert!(one.to_string().starts_with("m1:a%2Fb="), "{one}");
    assert_eq!(*run.next().await.unwrap(), 2);
    // This method does not assume that the topic belongs to a run.
    let mut topic = second.subscribe_by_id(one.clone(), |_| true).await.unwrap();
    assert_eq!(read(&mut topic), [Ok(2)]);
    assert_eq!(fake.records("hub/a/b").len(), 2);
    drop(topic);
    // The second hub does not execute the run, and no other process can use the engine.
    let mut resumed = second.resume_by_id(one, |_| true).await.unwrap();
    assert_eq!(*resumed.next().await.unwrap(), 2);
    assert!(resumed.next().await.is_none());
    assert!(resumed.has_failed());
    assert_eq!(fake.records("hub/a/b").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_stored_are_not_created() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    let (first, second) = (hub(&node), hub(&node));
    let id = first.topic("a").await.unwrap().publish(&1).await.unwrap();
    let made_up = EventId::new(format!("m1:a={id}&b={id}")).unwrap();
    let mut both = second.subscribe_by_id(made_up, |_| true).await.unwrap();
    assert_eq!(read(&mut both), [Err(GapReason::OtherEpoch)]);
    first.topic("a").await.unwrap().publish(&2).await.unwrap();
    assert_eq!(read(&mut both), [Ok(2)]);
    let gone = EventId::new("m1:b=x").unwrap();
    let mut runs = second.resume_by_id(gone, |_| true).await.unwrap();
    assert_eq!(read(&mut runs), [Err(GapReason::Unknown)]);
    assert_eq!(second.names(), ["a"]);
    assert!(fake.records("hub/b").is_empty());
}
