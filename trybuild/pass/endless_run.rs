//! A run of `Hub::produce` that never ends: its future has no value.
#![deny(warnings)]

use std::convert::Infallible;

use sse_runtime::Hub;

async fn ticks(hub: Hub<u32>) -> Result<(), sse_runtime::HubError> {
    hub.produce("ticks", |topic| async move {
        loop {
            tokio::task::yield_now().await;
            if let Err(error) = topic.publish(&1).await {
                drop(error);
            }
        }
    })?;
    hub.produce("pending", |_| async { std::future::pending::<Infallible>().await })?;
    hub.produce("never", |_| async { panic!("never") })?;
    hub.produce("fails", |topic| async move {
        loop {
            topic.publish(&1).await?;
        }
        #[allow(unreachable_code)]
        Ok::<(), sse_runtime::PublishError>(())
    })?;
    hub.produce("infallible", |_| async { Ok::<(), Infallible>(()) })?;
    Ok(())
}

fn main() {
    let _ = ticks;
}
