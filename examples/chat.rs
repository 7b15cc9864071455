//! A language model's answer, word by word, in two ways.
//!
//! The page's own goes on without its reader: reload it in the middle of an answer, or open a second tab.
//!
//! ```sh
//! cargo run --example chat           # a page at http://127.0.0.1:3000
//! curl -i http://127.0.0.1:3000/answers/1 \
//!   --json '{"model": "parrot-1", "messages": [{"role": "user", "content": "What is SSE?"}]}'
//! curl -N http://127.0.0.1:3000/answers/1      # again and again
//! curl -X DELETE http://127.0.0.1:3000/answers/1
//! ```
//!
//! The other has the format of [OpenAI's chat completions](https://platform.openai.com/docs/api-reference/chat/streaming), and
//! stops when its reader leaves. Clients that let you set the base URL work with it as they are.
//!
//! ```sh
//! curl -N http://127.0.0.1:3000/v1/chat/completions \
//!   --json '{"model": "parrot-1", "stream": true, "messages": [{"role": "user", "content": "What is SSE?"}]}'
//! ```
//!
//! The model is a parrot: see `mod model`.
#![allow(
    clippy::print_stdout,
    reason = "an example says where it can be looked at, and what it does"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json, Router,
    extract::{FromRef, Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use sse_runtime::{
    Event, Hub, HubError, LastEventId, PublishError, RouterExt, SseEvent, Start, Stream, Topic,
    sse_endpoint,
};

use model::{Model, Words};

/// What an answer that needs no reader consists of: an event `word` for each word, and `finished` behind the last.
#[derive(Clone, Debug, SseEvent)]
#[cfg_attr(test, derive(Deserialize))]
enum Piece {
    Word(String),
    Finished,
}

/// How much of an answer is held: all of it, since a page that was reloaded reads it from its beginning.
const HELD: usize = 10_000;

/// Has an answer written, whether somebody reads it or not.
///
/// The id is the client's: one that does not know whether its request has arrived sends it again, and the answer is
/// written once. Whoever knows the id can read the answer and stop it, so it is not to be guessed.
async fn start_answer(
    Path(id): Path<String>,
    State(model): State<Model>,
    State(answers): State<Hub<Piece>>,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<StatusCode, Answer> {
    let Json(request) = request?;
    let Some(question) = request.messages.last() else {
        return Err(Answer::no_messages());
    };
    let producer = |answer| write(model.answer(&question.content), answer);
    // Nobody reads it here.
    drop(answers.produce(&id, Start::First, producer)?);
    Ok(StatusCode::ACCEPTED)
}

/// Writes an answer, and knows nothing of who reads it.
async fn write(mut words: Words, answer: Topic<Piece>) -> Result<(), PublishError> {
    while let Some(word) = words.next().await {
        answer.publish(&Piece::Word(word)).await?;
    }
    answer.publish(&Piece::Finished).await?;
    Ok(())
}

/// An answer from its beginning, or behind what the client has got of it; a 404 if there is none.
#[sse_endpoint("/answers/{id}", retry = "1s")]
async fn answer(
    Path(id): Path<String>,
    State(answers): State<Hub<Piece>>,
    last: LastEventId,
) -> Result<impl Stream<Item = Piece>, StatusCode> {
    let answer = answers.get(&id).ok_or(StatusCode::NOT_FOUND)?;
    // It ends with `done`, or with `error` if the run has failed.
    yield_all!(answer.subscribe(last.or(Start::First)));
}

/// Ends an answer: its readers get what is written, then their end. One that has ended is left as it is.
async fn stop_answer(Path(id): Path<String>, State(answers): State<Hub<Piece>>) -> StatusCode {
    answers.stop(&id);
    StatusCode::NO_CONTENT
}

/// Answers a conversation: as a stream of chunks with `"stream": true`, else as one JSON object.
///
/// Both live at one path. What stands before the first `yield_!` runs before the response begins, so it can still
/// answer anything else: its `Err` is not only for failures but for every [`Answer`] that is not the stream.
#[sse_endpoint("/v1/chat/completions", method = POST)]
async fn chat_completions(
    State(model): State<Model>,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<impl Stream<Item = Chunk>, Answer> {
    let Json(request) = request?;
    let Some(question) = request.messages.last() else {
        return Err(Answer::no_messages());
    };
    let mut words = model.answer(&question.content);
    let id = format!("chatcmpl-{}", words.id());

    if !request.stream {
        let mut content = String::new();
        while let Some(word) = words.next().await {
            content.push_str(&word);
        }
        let usage = Usage::new(&request.messages, words.written());
        return Err(Answer::Whole(Completion::new(
            id,
            request.model,
            content,
            usage,
        )));
    }

    let mut chunk = Chunk::new(id, request.model);
    // The first chunk says who speaks, the last one why there is no more, and `[DONE]` is OpenAI's own end of stream.
    yield_!(chunk.role("assistant"));
    while let Some(word) = words.next().await {
        yield_!(chunk.content(word));
    }
    yield_!(chunk.finish("stop"));
    yield_!(Event::text("[DONE]"));
}

/// Everything that is answered instead of a stream.
#[derive(Debug)]
enum Answer {
    Whole(Completion),
    Refused(StatusCode, ApiError),
}

impl Answer {
    fn no_messages() -> Self {
        let error = ApiError {
            message: "'messages' must hold at least one message.".to_owned(),
            r#type: "invalid_request_error",
            param: Some("messages"),
            code: Some("missing_required_parameter"),
        };
        Self::Refused(StatusCode::BAD_REQUEST, error)
    }
}

impl From<JsonRejection> for Answer {
    fn from(rejection: JsonRejection) -> Self {
        // axum tells broken JSON (400) from JSON of the wrong shape (422). OpenAI does not.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            other => other,
        };
        let error = ApiError {
            message: rejection.body_text(),
            r#type: "invalid_request_error",
            param: None,
            code: None,
        };
        Self::Refused(status, error)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Whole(completion) => Json(completion).into_response(),
            Self::Refused(status, error) => {
                (status, Json(serde_json::json!({ "error": error }))).into_response()
            }
        }
    }
}

impl From<HubError> for Answer {
    fn from(_: HubError) -> Self {
        let error = ApiError {
            message: "Too many answers are on their way. Ask again later.".to_owned(),
            r#type: "requests",
            param: None,
            code: Some("rate_limit_exceeded"),
        };
        Self::Refused(StatusCode::TOO_MANY_REQUESTS, error)
    }
}

#[derive(Deserialize)]
struct Request {
    model: String,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Message {
    role: String,
    content: String,
}

/// One piece of an answer. A single value is reused for all pieces of a stream: `yield_!` takes references too.
#[derive(Serialize)]
struct Chunk {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: [ChunkChoice; 1],
}

#[derive(Default, Serialize)]
struct ChunkChoice {
    index: u32,
    delta: Delta,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl Chunk {
    fn new(id: String, model: String) -> Self {
        Self {
            id,
            object: "chat.completion.chunk",
            created: unix_time(),
            model,
            choices: [ChunkChoice::default()],
        }
    }

    fn role(&mut self, role: &'static str) -> &Self {
        self.choices[0].delta = Delta {
            role: Some(role),
            content: Some(String::new()),
        };
        self
    }

    fn content(&mut self, content: String) -> &Self {
        self.choices[0].delta = Delta {
            role: None,
            content: Some(content),
        };
        self
    }

    fn finish(&mut self, reason: &'static str) -> &Self {
        self.choices[0] = ChunkChoice {
            finish_reason: Some(reason),
            ..ChunkChoice::default()
        };
        self
    }
}

/// A whole answer.
#[derive(Debug, Serialize)]
struct Completion {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    message: Message,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl Completion {
    fn new(id: String, model: String, content: String, usage: Usage) -> Self {
        let message = Message {
            role: "assistant".to_owned(),
            content,
        };
        Self {
            id,
            object: "chat.completion",
            created: unix_time(),
            model,
            choices: [Choice {
                index: 0,
                message,
                finish_reason: "stop",
            }],
            usage,
        }
    }
}

impl Usage {
    fn new(prompt: &[Message], completion_tokens: usize) -> Self {
        let words = |message: &Message| message.content.split_whitespace().count();
        let prompt_tokens = prompt.iter().map(words).sum();
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }
}

#[derive(Debug, Serialize)]
struct ApiError {
    message: String,
    r#type: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Stands for a language model: always the same answer to the same question, a word at a time.
mod model {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        },
        time::Duration,
    };

    #[derive(Clone, Default)]
    pub(crate) struct Model(Arc<Counts>);

    #[derive(Default)]
    struct Counts {
        answers: AtomicU64,
        busy: AtomicUsize,
    }

    /// An answer on its way. The model works on it while somebody waits for its next word, and not otherwise.
    pub(crate) struct Words {
        model: Model,
        id: u64,
        words: Vec<String>,
        written: usize,
    }

    impl Model {
        pub(crate) fn answer(&self, question: &str) -> Words {
            self.0.busy.fetch_add(1, Relaxed);
            Words {
                model: self.clone(),
                id: self.0.answers.fetch_add(1, Relaxed) + 1,
                words: text(question)
                    .split_inclusive(' ')
                    .map(str::to_owned)
                    .collect(),
                written: 0,
            }
        }

        /// How many answers it is working on.
        pub(crate) fn busy(&self) -> usize {
            self.0.busy.load(Relaxed)
        }
    }

    impl Words {
        pub(crate) async fn next(&mut self) -> Option<String> {
            let word = self.words.get(self.written)?.clone();
            tokio::time::sleep(Duration::from_millis(40)).await;
            self.written += 1;
            Some(word)
        }

        pub(crate) fn id(&self) -> u64 {
            self.id
        }

        pub(crate) fn written(&self) -> usize {
            self.written
        }
    }

    // Nobody has to check whether the reader is still there: when it leaves, the generator is dropped where it waits,
    // and its answer with it. So is a run that is stopped.
    impl Drop for Words {
        fn drop(&mut self) {
            self.model.0.busy.fetch_sub(1, Relaxed);
            let (id, written, all) = (self.id, self.written, self.words.len());
            let how = if written < all { "stopped" } else { "finished" };
            let busy = self.model.busy();
            println!("answer {id}: {how} after {written} of {all} words; {busy} more on their way");
        }
    }

    fn text(question: &str) -> String {
        let topic = topic(question).unwrap_or("nothing in particular");
        let seed: usize = question.bytes().map(usize::from).sum();
        let opening = OPENINGS[seed % OPENINGS.len()].replace("{}", topic);
        let fact = |n| FACTS[(seed + n) % FACTS.len()];
        let ending = ENDINGS[seed % ENDINGS.len()].replace("{}", topic);
        format!(
            "{opening} {} {}\n\n{} {} {ending}",
            fact(0),
            fact(1),
            fact(2),
            fact(3)
        )
    }

    /// What the question is about: its longest word, the one in front aside ("What", "How").
    fn topic(question: &str) -> Option<&str> {
        let words = question.split(|c: char| !c.is_alphanumeric() && c != '-');
        words
            .filter(|word| !word.is_empty())
            .enumerate()
            .max_by_key(|(at, word)| (*at > 0, word.chars().count()))
            .map(|(_, word)| word)
    }

    const OPENINGS: [&str; 3] = [
        "You ask about “{}”. I am only a parrot, and know one thing well: event streams.",
        "“{}” is a fine subject. It reminds me of how an answer like this one reaches you.",
        "Let me think about “{}” aloud, as language models do, one word at a time.",
    ];

    const FACTS: [&str; 8] = [
        "A server-sent event is a few lines of text that end with a blank one.",
        "The response never had to say how long it would be, so it can go on for a minute or for a day.",
        "Every word arrives on its own, because nothing between us waits for the next one.",
        "There is no second protocol: it is HTTP all the way, and every proxy has seen it before.",
        "When a connection breaks, the browser comes back and says which event it saw last.",
        "A comment now and then keeps a quiet stream open, and nobody needs to see it.",
        "If the server cannot answer, it says so with a status before the first event, and not after it.",
        "Text is all it carries, and JSON is text.",
    ];

    const ENDINGS: [&str; 3] = [
        "Press Stop while I talk about “{}” and I fall silent in mid-sentence, on the server too.",
        "Ask about “{}” again and I will say exactly the same: a parrot is deterministic.",
        "That is all I know about “{}”, and perhaps a little more.",
    ];
}

#[derive(Clone, FromRef)]
struct App {
    model: Model,
    answers: Hub<Piece>,
}

fn app() -> Router {
    app_with(Model::default())
}

fn app_with(model: Model) -> Router {
    // One that has ended can be read for another five minutes, unless `idle` says otherwise.
    let answers = Hub::new(|| Topic::in_memory(HELD));
    Router::new()
        .route("/", get(Html(include_str!("chat.html"))))
        .route("/answers/{id}", post(start_answer).delete(stop_answer))
        .sse(answer)
        .sse(chat_completions)
        .with_state(App { model, answers })
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    sse_runtime::serve(listener, app()).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;
    use serde_json::{Value, json};
    use sse_runtime::testing::{Client, Events, Request, Response};

    use super::*;

    const PATH: &str = "/v1/chat/completions";

    fn ask(model: &Model, stream: bool) -> Request {
        let messages = json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "What is an event stream?" },
        ]);
        let request = json!({ "model": "parrot-1", "messages": messages, "stream": stream });
        Client::new(app_with(model.clone()))
            .post(PATH)
            .json(&request)
    }

    // tokio's clock is paused: the model's delays pass as soon as everybody waits for them.
    #[tokio::test(start_paused = true)]
    async fn streams_chunks_up_to_done() {
        let model = Model::default();
        let mut events = ask(&model, true).await.events();

        let first: Value = events.expect_event().await.json();
        let created = first["created"].as_u64().unwrap();
        assert_eq!(
            first,
            json!({
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": created,
                "model": "parrot-1",
                "choices": [{
                    "index": 0,
                    "delta": { "role": "assistant", "content": "" },
                    "finish_reason": null,
                }],
            })
        );

        let mut content = String::new();
        let last = loop {
            let chunk: Value = events.expect_event().await.json();
            assert_eq!(chunk["id"], first["id"]);
            assert_eq!(chunk["object"], first["object"]);
            assert_eq!(chunk["created"], first["created"]);
            let choice = &chunk["choices"][0];
            let Some(word) = choice["delta"]["content"].as_str() else {
                break chunk;
            };
            assert_eq!(choice["delta"], json!({ "content": word }));
            assert_eq!(choice["finish_reason"], Value::Null);
            content.push_str(word);
        };
        assert_eq!(
            last["choices"],
            json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }])
        );
        assert_eq!(events.expect_event().await.data, "[DONE]");
        events.expect_end().await;

        let whole: Value = ask(&Model::default(), false).await.json().await;
        assert_eq!(whole["choices"][0]["message"]["content"], content.as_str());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_in_one_piece_without_stream() {
        let response = ask(&Model::default(), false).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.header("content-type"), Some("application/json"));

        let whole: Value = response.json().await;
        let content = whole["choices"][0]["message"]["content"].as_str().unwrap();
        let words = content.split(' ').count();
        assert!(content.contains("“stream”"), "{content}");
        assert_eq!(
            whole,
            json!({
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": whole["created"].as_u64().unwrap(),
                "model": "parrot-1",
                "choices": [{
                    "index": 0,
                    "message": { "role": "assistant", "content": content },
                    "finish_reason": "stop",
                }],
                "usage": {
                    "prompt_tokens": 7,
                    "completion_tokens": words,
                    "total_tokens": words + 7,
                },
            })
        );
    }

    async fn refused(response: Response) -> Value {
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body: Value = response.json().await;
        let error = &body["error"];
        assert_eq!(body, json!({ "error": error }));
        assert_eq!(error["type"], "invalid_request_error");
        for field in ["message", "param", "code"] {
            assert!(error.get(field).is_some(), "no {field} in {error}");
        }
        error.clone()
    }

    #[tokio::test]
    async fn a_bad_request_is_refused_as_openai_does() {
        let client = Client::new(app());
        let post = || client.post(PATH);

        let broken = post().header("content-type", "application/json").body("{");
        assert_eq!(refused(broken.await).await["param"], Value::Null);

        let misshapen = json!({ "model": "parrot-1", "messages": "hello" });
        let error = refused(post().json(&misshapen).await).await;
        assert!(error["message"].as_str().unwrap().contains("messages"));

        for stream in [true, false] {
            let missing = json!({ "model": "parrot-1", "stream": stream });
            let empty = json!({ "model": "parrot-1", "stream": stream, "messages": [] });
            for request in [missing, empty] {
                let error = refused(post().json(&request).await).await;
                assert_eq!(error["param"], "messages");
                assert_eq!(error["code"], "missing_required_parameter");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stops_writing_when_the_reader_leaves() {
        let model = Model::default();
        let mut events = ask(&model, true).await.events();
        for _ in 0..4 {
            events.expect_event().await;
        }
        assert_eq!(model.busy(), 1);
        events.leave().await;
        assert_eq!(model.busy(), 0);
    }

    /// The answer `1`, as it is without streaming.
    async fn whole_answer() -> String {
        let whole: Value = ask(&Model::default(), false).await.json().await;
        let content = whole["choices"][0]["message"]["content"].as_str();
        content.unwrap().to_owned()
    }

    async fn start(client: &Client) {
        let messages = json!([{ "role": "user", "content": "What is an event stream?" }]);
        let request = json!({ "model": "parrot-1", "messages": messages });
        let response = client.post("/answers/1").json(&request).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }

    async fn read(client: &Client) -> Events {
        client.get("/answers/1").await.events()
    }

    async fn read_on(client: &Client, behind: &str) -> Events {
        let request = client.get("/answers/1").last_event_id(behind);
        request.await.events()
    }

    async fn word(events: &mut Events) -> String {
        match events.expect_event().await.decode() {
            Piece::Word(word) => word,
            Piece::Finished => panic!("expected a word"),
        }
    }

    /// Reads to the end: the words, and whether the answer is finished.
    async fn rest(events: &mut Events) -> (String, bool) {
        let (mut content, mut is_finished) = (String::new(), false);
        loop {
            let event = events.expect_event().await;
            if event.event == "done" {
                events.expect_end().await;
                return (content, is_finished);
            }
            assert!(!is_finished, "{event:?} behind the end");
            match event.decode() {
                Piece::Word(word) => content.push_str(&word),
                Piece::Finished => is_finished = true,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_goes_on_while_nobody_reads_it() {
        let model = Model::default();
        let client = Client::new(app_with(model.clone()));
        start(&client).await;
        let mut events = read(&client).await;
        word(&mut events).await;
        events.leave().await;
        assert_eq!(model.busy(), 1);

        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(model.busy(), 0);
        let (content, is_finished) = rest(&mut read(&client).await).await;
        assert_eq!(content, whole_answer().await);
        assert!(is_finished);
    }

    #[tokio::test(start_paused = true)]
    async fn two_readers_get_the_same() {
        let client = Client::new(app());
        start(&client).await;
        let mut first = read(&client).await;
        let begun = word(&mut first).await + &word(&mut first).await;
        // The second comes later, and gets what was before it came as well.
        let mut second = read(&client).await;
        let (first, second) = tokio::join!(rest(&mut first), rest(&mut second));
        assert_eq!((begun + &first.0, first.1), second);
        assert_eq!(second, (whole_answer().await, true));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_back_gets_exactly_the_rest() {
        let client = Client::new(app());
        start(&client).await;
        let mut events = read(&client).await;
        let begun = word(&mut events).await + &word(&mut events).await;
        let seen = events.last_event_id().to_owned();
        events.leave().await;

        tokio::time::sleep(Duration::from_millis(500)).await;
        let (content, is_finished) = rest(&mut read_on(&client, &seen).await).await;
        assert_eq!(begun + &content, whole_answer().await);
        assert!(is_finished);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_it_ends_it_for_all_its_readers() {
        let model = Model::default();
        let client = Client::new(app_with(model.clone()));
        start(&client).await;
        let (mut first, mut second) = (read(&client).await, read(&client).await);
        let begun = word(&mut first).await + &word(&mut first).await;

        let stop = client.request(Method::DELETE, "/answers/1");
        assert_eq!(stop.await.status(), StatusCode::NO_CONTENT);
        assert_eq!(rest(&mut first).await, (String::new(), false));
        assert_eq!(rest(&mut second).await, (begun.clone(), false));
        assert_eq!(model.busy(), 0);
        // It stays so: who reloads the page sees how far it came, and it is not begun again.
        start(&client).await;
        assert_eq!(rest(&mut read(&client).await).await, (begun, false));
    }

    #[tokio::test(start_paused = true)]
    async fn posted_twice_it_is_written_once() {
        let model = Model::default();
        let client = Client::new(app_with(model.clone()));
        tokio::join!(start(&client), start(&client));
        assert_eq!(model.busy(), 1);
        let mut events = read(&client).await;
        let begun = word(&mut events).await;
        start(&client).await;
        assert_eq!(model.busy(), 1);
        let (content, _) = rest(&mut events).await;
        assert_eq!(begun + &content, whole_answer().await);
        start(&client).await;
        assert_eq!(model.busy(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_has_asked_for_is_not_found() {
        let client = Client::new(app());
        let response = client.get("/answers/1").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let empty = json!({ "model": "parrot-1", "messages": [] });
        let error = refused(client.post("/answers/1").json(&empty).await).await;
        assert_eq!(error["param"], "messages");
        let response = client.get("/answers/1").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_answer_is_replayed_and_ends_for_good() {
        let client = Client::new(app());
        start(&client).await;
        let first = rest(&mut read(&client).await).await;
        let mut events = read(&client).await;
        assert_eq!(rest(&mut events).await, first);
        let seen = events.last_event_id();
        let again = client.get("/answers/1").last_event_id(seen).await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn the_page_reads_the_endpoint() {
        let page = Client::new(app()).get("/").await.text().await;
        let url = answer().path().replace("{id}", "${answer.id}");
        assert!(page.contains(&format!("`{url}`")), "{url}");
    }
}
