//! Tests a master with a replica.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sse_redis::{Redis, RedisError};
use sse_runtime::{
    Start, Topic,
    topic::{GapReason, PublishError},
};
use support::{
    PATIENCE, open_numbers, open_topic,
    proxy::Proxy,
    publish_all, publish_stubbornly, read_all, recv,
    replication::{master, proxied_replica_of, replicated},
    take, until, values,
};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn failover_rolls_back_exactly_the_lost_events() {
    for lost in [1, 5] {
        let mut master = master().await;
        let (replica, replication) = proxied_replica_of(&master).await;
        let proxy = Proxy::start(master.port()).await;
        let (_one, here) = open_numbers(&proxy.url()).await;
        let (_other, there) = open_numbers(&proxy.url()).await;
        let mut all = here.subscribe(Start::First);
        let ids = publish_all(&here, 0..10).await;
        take(&mut all, 10).await;
        replicated(&master, &replica).await;
        // This reader does not read any of the lost events.
        let mut some = there.subscribe(ids[4].clone());
        assert_eq!(take(&mut some, 5).await, [5, 6, 7, 8, 9]);
        replication.black_hole();
        let lost_ids = publish_all(&here, 100..100 + lost).await;
        let count = usize::try_from(lost).unwrap();
        assert_eq!(take(&mut all, count).await, Vec::from_iter(100..100 + lost));
        master.kill().await;
        let () = replica.run(&["REPLICAOF", "NO", "ONE"]).await;
        proxy.redirect(replica.port());
        proxy.cut();
        // Publish more events than were lost, so that the numbers alone do not reveal the loss.
        for value in 200..210 {
            publish_stubbornly(&there, value.into(), value).await;
        }
        let gap = recv(&mut all).await.unwrap().unwrap_err();
        assert_eq!(gap.reason(), GapReason::RolledBack);
        let rest = Vec::from_iter(200..210);
        assert_eq!(take(&mut all, 10).await, rest);
        assert_eq!(take(&mut some, 10).await, rest);
        // These clients were not connected during the failover.
        let mut unaffected = there.subscribe(ids[9].clone());
        assert_eq!(take(&mut unaffected, 10).await, rest);
        for id in lost_ids {
            let mut affected = there.subscribe(id);
            let gap = recv(&mut affected).await.unwrap().unwrap_err();
            assert_eq!(gap.reason(), GapReason::RolledBack);
            let kept = Vec::from_iter((0..10).chain(200..210));
            assert_eq!(take(&mut affected, 20).await, kept);
        }
        let kept = [Vec::from_iter(0..10), rest].concat();
        assert_eq!(values(&read_all(&here).await), kept);
    }
}

#[tokio::test]
async fn node_reconnects_after_its_master_is_demoted() {
    let master = master().await;
    let (replica, _replication) = proxied_replica_of(&master).await;
    let proxy = Proxy::start(master.port()).await;
    let (_redis, numbers) = open_numbers(&proxy.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..3).await;
    replicated(&master, &replica).await;
    proxy.redirect(replica.port());
    let () = replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    let port = replica.port().to_string();
    let () = master.run(&["REPLICAOF", "127.0.0.1", &port]).await;
    // The old master rejects the event, and the node connects to the new one.
    publish_stubbornly(&numbers, 3, 3).await;
    assert_eq!(take(&mut reader, 4).await, [0, 1, 2, 3]);
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2, 3]);
}

#[tokio::test]
async fn replica_is_rejected_at_open() {
    let master = master().await;
    let (replica, _replication) = proxied_replica_of(&master).await;
    let opened = Redis::open(replica.url()).await;
    assert!(
        matches!(opened, Err(RedisError::Replica { .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn publish_is_unknown_without_replicas() {
    let master = master().await;
    let (_replica, replication) = proxied_replica_of(&master).await;
    let redis = Redis::builder()
        .replicas(1)
        .publish_timeout(Duration::from_millis(500))
        .open(master.url())
        .await
        .unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    // On a busy machine, even a healthy replica may take longer than the timeout.
    for value in 0..10 {
        publish_stubbornly(&numbers, value.into(), value).await;
    }
    replication.black_hole();
    let published = numbers.publish(&10).await;
    let Err(PublishError::Unknown { key, .. }) = &published else {
        panic!("{published:?}");
    };
    let message = published.as_ref().unwrap_err().to_string();
    assert!(message.contains("0 of 1 replicas"), "{message}");
    // A repeated key must be confirmed too, even at another node.
    let other = Redis::builder()
        .replicas(1)
        .publish_timeout(Duration::from_millis(500))
        .open(master.url())
        .await
        .unwrap();
    let there = open_topic(&other, "numbers").await;
    let again = there.publish_with_key(*key, &10).await;
    assert!(
        matches!(again, Err(PublishError::Unknown { .. })),
        "{again:?}"
    );
    replication.heal();
    let key = u128::from_be_bytes(key.to_bytes());
    let retried = timeout(PATIENCE, publish_stubbornly(&numbers, key, 10)).await;
    retried.unwrap();
    assert_eq!(values(&read_all(&numbers).await), Vec::from_iter(0..=10));
}

#[tokio::test]
async fn lost_connection_while_waiting_is_reported() {
    let master = master().await;
    let (_replica, replication) = proxied_replica_of(&master).await;
    let proxy = Proxy::start(master.port()).await;
    let redis = Redis::builder().replicas(1).publish_timeout(PATIENCE);
    let redis = redis.open(proxy.url()).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    publish_all(&numbers, 0..3).await;
    replication.black_hole();
    let publishing = {
        let numbers = numbers.clone();
        tokio::spawn(async move { numbers.publish_with_key(7, &3).await })
    };
    until("the node waits for the replica", async || {
        master.info("clients", "blocked_clients").await.as_deref() == Some("1")
    })
    .await;
    proxy.cut();
    let error = publishing.await.unwrap().unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("was lost"), "{message}");
    assert!(!message.contains("replicas"), "{message}");
    replication.heal();
    publish_stubbornly(&numbers, 7, 3).await;
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2, 3]);
}

#[tokio::test]
async fn master_without_enough_replicas_stores_nothing() {
    let master = master().await;
    let (_replica, replication) = proxied_replica_of(&master).await;
    for (name, value) in [
        ("min-replicas-to-write", "1"),
        ("min-replicas-max-lag", "2"),
    ] {
        let () = master.run(&["CONFIG", "SET", name, value]).await;
    }
    let (_redis, numbers) = open_numbers(&master.url()).await;
    publish_all(&numbers, 0..3).await;
    replication.black_hole();
    let mut published = 3;
    let error = until_error(&numbers, &mut published).await;
    assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("NOREPLICAS"), "{error}");
    replication.heal();
    publish_stubbornly(&numbers, 7, published).await;
    let all = Vec::from_iter(0..=published);
    assert_eq!(values(&read_all(&numbers).await), all);
}

/// Publishes events until one is rejected. Counts those that are stored.
async fn until_error(numbers: &Topic<u64>, published: &mut u64) -> PublishError {
    let publishing = async {
        loop {
            match numbers.publish(published).await {
                Ok(_) => *published += 1,
                Err(error) => return error,
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, publishing).await.unwrap()
}
