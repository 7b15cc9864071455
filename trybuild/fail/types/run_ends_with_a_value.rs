use sse_runtime::{Hub, Start, Topic};

#[tokio::main]
async fn main() {
    let answers: Hub<String> = Hub::new(|| Topic::builder().keep(10));
    let _ = answers.spawn("1", Start::First, async |_| "the answer".to_owned()).await;
}
