//! Runs started with `Hub::spawn`, including runs that never end, whose futures never return a value.
#![deny(warnings)]

use std::convert::Infallible;

use sse_runtime::{Hub, Start};

async fn ticks(hub: Hub<u32>) -> Result<(), sse_runtime::topic::HubError> {
    hub.spawn("ticks", Start::First, |topic| async move {
        loop {
            tokio::task::yield_now().await;
            if let Err(error) = topic.publish(&1).await {
                drop(error);
            }
        }
    }).await?;
    hub.spawn("pending", Start::First, |_| async { std::future::pending::<Infallible>().await }).await?;
    hub.spawn("never", Start::First, |_| async { panic!("never") }).await?;
    hub.spawn("fails", Start::First, |topic| async move {
        loop {
            topic.publish(&1).await?;
        }
        #[allow(unreachable_code)]
        Ok::<(), sse_runtime::topic::PublishError>(())
    }).await?;
    hub.spawn("infallible", Start::First, |_| async { Ok::<(), Infallible>(()) }).await?;
    Ok(())
}

fn main() {
    let _ = ticks;
}
