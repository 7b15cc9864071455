//! Tests the metrics of an engine. A process can have only one metrics recorder, so this must be the
//! only test in this file.

#![allow(clippy::unwrap_used)]

mod support;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sse_redis::Redis;
use sse_runtime::Start;
use support::{open_topic, proxy::Proxy, publish_stubbornly, recv, server::Server, take, until};

fn value(metrics: &PrometheusHandle, name: &str) -> f64 {
    let rendered = metrics.render();
    let line = rendered
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing:\n{rendered}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn engine_reports_metrics() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let get = |name: &str| value(&metrics, &format!("{name}{{engine=\"redis\"}}"));
    let server = Server::durable().await;
    let proxy = Proxy::start(server.port()).await;
    let redis = Redis::open(proxy.url()).await.unwrap();
    let topic = open_topic(&redis, "numbers").await;
    let mut reader = topic.subscribe(Start::First);
    topic.publish(&1).await.unwrap();
    assert_eq!(take(&mut reader, 1).await, [1]);
    assert_eq!(get("sse_engine_up"), 1.0);
    assert_eq!(get("sse_engine_reconnects"), 0.0);
    assert_eq!(get("sse_engine_publish_duration_count"), 1.0);
    assert_eq!(get("sse_engine_failed_publishes"), 0.0);
    let repairs = get("sse_engine_repairs");
    assert!(repairs >= 1.0, "opening the topic reads it");

    proxy.black_hole();
    until("the connection is lost", async || {
        get("sse_engine_up") == 0.0
    })
    .await;
    topic.publish(&2).await.unwrap_err();
    assert_eq!(get("sse_engine_failed_publishes"), 1.0);
    proxy.heal();
    publish_stubbornly(&topic, 3, 3).await;
    assert_eq!(take(&mut reader, 1).await, [3]);
    assert_eq!(get("sse_engine_up"), 1.0);
    assert_eq!(get("sse_engine_reconnects"), 1.0);

    let lost = r#"sse_topic_gaps{reason="other_epoch"}"#;
    assert_eq!(value(&metrics, lost), 0.0);
    let _: () = server.run(&["FLUSHALL"]).await;
    assert!(recv(&mut reader).await.unwrap().is_err());
    assert_eq!(value(&metrics, lost), 1.0);
    until("the repair is counted", async || {
        get("sse_engine_repairs") > repairs
    })
    .await;

    // The feed's messages are dropped, so the node falls behind until it compares positions.
    proxy.drop_messages(true);
    {
        // While this connection is open, it reports its own lag.
        let direct = Redis::open(server.url()).await.unwrap();
        let topic = open_topic(&direct, "numbers").await;
        topic.publish(&4).await.unwrap();
    }
    until("the lag is reported", async || {
        get("sse_engine_feed_lag") >= 1.0
    })
    .await;
    assert_eq!(take(&mut reader, 1).await, [4]);
    until("the node has caught up", async || {
        get("sse_engine_feed_lag") == 0.0
    })
    .await;
}
