//! Code that must run even if the client disconnects in the middle of a stream.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, extract::State};
use sse_runtime::{CloseReason, Connection, Stream, sse_endpoint};
use support::{Client, SseRouterExt as _, serve, within};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

/// The words of an answer, which the test sends one at a time.
type Words = Arc<Mutex<Option<mpsc::Receiver<String>>>>;

#[derive(Clone)]
struct App {
    words: Words,
    saved: mpsc::UnboundedSender<(String, CloseReason)>,
    after_the_loop: mpsc::UnboundedSender<()>,
}

#[sse_endpoint("/answer")]
async fn answer(State(app): State<App>, connection: Connection) -> impl Stream<Item = String> {
    let words = app.words.lock().unwrap().take().unwrap();
    let mut words = ReceiverStream::new(words);
    let text = Arc::new(Mutex::new(String::new()));
    let (so_far, saved) = (text.clone(), app.saved.clone());
    connection.on_close(move |reason| async move {
        let text = so_far
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        saved.send((text, reason)).unwrap();
    });
    while let Some(word) = words.next().await {
        text.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&word);
        yield_!(word);
    }
    let _ = app.after_the_loop.send(());
}

struct Run {
    client: Client,
    words: mpsc::Sender<String>,
    saved: mpsc::UnboundedReceiver<(String, CloseReason)>,
    after_the_loop: mpsc::UnboundedReceiver<()>,
}

/// Requests an answer and reads its first two words.
async fn two_words() -> Run {
    let (words, receiver) = mpsc::channel(8);
    let (saved_sender, saved) = mpsc::unbounded_channel();
    let (after_sender, after_the_loop) = mpsc::unbounded_channel();
    let app = Router::new().sse(answer).with_state(App {
        words: Arc::new(Mutex::new(Some(receiver))),
        saved: saved_sender,
        after_the_loop: after_sender,
    });
    let mut client = Client::get(serve(app).await, "/answer").await;
    client.head().await;
    for word in ["Event ", "streams "] {
        words.send(word.to_owned()).await.unwrap();
        let frame = format!("data: {word:?}\n\n");
        assert_eq!(client.expect_chunk().await, frame);
    }
    Run {
        client,
        words,
        saved,
        after_the_loop,
    }
}

#[tokio::test]
async fn hook_saves_what_the_client_received() {
    let mut run = two_words().await;
    drop(run.client);
    let saved = within("the close hook", run.saved.recv()).await.unwrap();
    assert_eq!(
        saved,
        ("Event streams ".to_owned(), CloseReason::ClientGone)
    );
    // The code after the last `yield_!` has not run.
    assert!(run.after_the_loop.try_recv().is_err());
}

#[tokio::test]
async fn hook_saves_a_complete_answer() {
    let mut run = two_words().await;
    run.words.send("resume.".to_owned()).await.unwrap();
    drop(run.words);
    assert_eq!(run.client.expect_chunk().await, "data: \"resume.\"\n\n");
    assert_eq!(run.client.chunk().await, Ok(None));
    let saved = within("the close hook", run.saved.recv()).await.unwrap();
    let text = "Event streams resume.".to_owned();
    assert_eq!(saved, (text, CloseReason::Finished));
    assert!(run.after_the_loop.try_recv().is_ok());
}
