//! A run of `Hub::produce` that never ends: its future has no value.
#![deny(warnings)]

use std::convert::Infallible;

use sse_runtime::{Hub, Start};

async fn ticks(hub: Hub<u32>) -> Result<(), sse_runtime::HubError> {
    hub.produce("ticks", Start::First, |topic| async move {
        loop {
            tokio::task::yield_now().await;
            if let Err(error) = topic.publish(&1).await {
                drop(error);
            }
        }
    })?;
    hub.produce("pending", Start::First, |_| async { std::future::pending::<Infallible>().await })?;
    hub.produce("never", Start::First, |_| async { panic!("never") })?;
    hub.produce("fails", Start::First, |topic| async move {
        loop {
            topic.publish(&1).await?;
        }
        #[allow(unreachable_code)]
        Ok::<(), sse_runtime::PublishError>(())
    })?;
    hub.produce("infallible", Start::First, |_| async { Ok::<(), Infallible>(()) })?;
    Ok(())
}

fn main() {
    let _ = ticks;
}
