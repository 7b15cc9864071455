use sse_runtime::{Topic, topic::PublishError};

#[derive(serde::Serialize)]
struct Price(u32);

async fn publish(prices: &Topic<Price>) -> Result<(), PublishError> {
    prices.publish_with_retry(&Price(1)).await?;
    Ok(())
}

fn main() {}
