//! One stalled client among a thousand.

use std::time::Duration;

use sse_runtime::CloseReason;
use support::{Client, serve_as, within};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{next, server};

const CLIENTS: usize = 1000;

/// One client stops reading. The other clients keep receiving events for two seconds before the
/// server disconnects the stalled client.
#[tokio::test]
async fn stalled_clients_do_not_delay_others() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server.send_timeout(Duration::from_secs(6))).await;
    let (stalls, is_stalling) = watch::channel(false);
    let (served, mut all_served) = mpsc::unbounded_channel();
    let mut others = JoinSet::new();
    for _ in 1..CLIENTS {
        let (is_stalling, served) = (is_stalling.clone(), served.clone());
        let mut client = Client::get(addr, "/clock").await;
        others.spawn(async move {
            client.head().await;
            while !*is_stalling.borrow() {
                client.expect_chunk().await;
            }
            for _ in 0..10 {
                client.expect_chunk().await;
            }
            served.send(()).unwrap();
            loop {
                client.expect_chunk().await;
            }
        });
    }
    told.generators.until_started(CLIENTS - 1).await;
    let mut staller = Client::connect_narrow(addr).await;
    staller
        .send(b"GET /each HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    told.generators.until_started(CLIENTS).await;
    stalls.send_replace(true);
    for _ in 1..CLIENTS {
        within(
            "every other client to receive its events",
            all_served.recv(),
        )
        .await;
    }
    assert!(
        reasons.try_recv().is_err(),
        "the other clients waited for the stalled client"
    );
    assert_eq!(next(&mut reasons).await.reason, CloseReason::Stalled);
    assert!(others.try_join_next().is_none(), "another stream has ended");
    assert_eq!(told.generators.count().alive, CLIENTS - 1);
}
