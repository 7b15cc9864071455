use sse_runtime::{Hub, Start, Topic};

struct OutOfWords;

#[tokio::main]
async fn main() {
    let answers: Hub<String> = Hub::new(|| Topic::builder().keep(10));
    let _ = answers.spawn("1", Start::First, async |_| Err::<(), _>(OutOfWords)).await;
}
