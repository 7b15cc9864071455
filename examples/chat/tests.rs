use std::time::Duration;

use axum::http::Method;
use cluster::{Process, Program, free_ports};
use serde_json::{Value, json};
use sse_runtime::testing::{Client, Events, Request, Response};

use super::*;

const PATH: &str = "/v1/chat/completions";

fn in_memory(model: &Model) -> App {
    App::new(model.clone(), Node::default())
}

fn ask(model: &Model, stream: bool) -> Request {
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "What is an event stream?" },
    ]);
    let request = json!({ "model": "parrot-1", "messages": messages, "stream": stream });
    Client::new(app(in_memory(model))).post(PATH).json(&request)
}

// With tokio's clock paused, the model's delays elapse as soon as every task is waiting.
#[tokio::test(start_paused = true)]
async fn chunks_are_streamed_until_done() {
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
async fn requests_without_stream_get_one_object() {
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

async fn rejected(response: Response) -> Value {
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
async fn bad_requests_are_rejected_in_openai_format() {
    let client = Client::new(app(in_memory(&Model::default())));
    let post = || client.post(PATH);

    let broken = post().header("content-type", "application/json").body("{");
    assert_eq!(rejected(broken.await).await["param"], Value::Null);

    let misshapen = json!({ "model": "parrot-1", "messages": "hello" });
    let error = rejected(post().json(&misshapen).await).await;
    assert!(error["message"].as_str().unwrap().contains("messages"));

    for stream in [true, false] {
        let missing = json!({ "model": "parrot-1", "stream": stream });
        let empty = json!({ "model": "parrot-1", "stream": stream, "messages": [] });
        for request in [missing, empty] {
            let error = rejected(post().json(&request).await).await;
            assert_eq!(error["param"], "messages");
            assert_eq!(error["code"], "missing_required_parameter");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn model_stops_when_the_client_disconnects() {
    let model = Model::default();
    let mut events = ask(&model, true).await.events();
    for _ in 0..4 {
        events.expect_event().await;
    }
    assert_eq!(model.busy(), 1);
    events.disconnect().await;
    assert_eq!(model.busy(), 0);
}

/// Requests an answer without streaming and returns its text.
async fn whole_answer() -> String {
    let whole: Value = ask(&Model::default(), false).await.json().await;
    let content = whole["choices"][0]["message"]["content"].as_str();
    content.unwrap().to_owned()
}

async fn start(client: &Client) {
    let messages = json!([{ "role": "user", "content": "What is an event stream?" }]);
    let request = json!({ "model": "parrot-1", "messages": messages });
    let response = client.post("/answers/1").json(&request).await;
    assert_eq!(response.status(), StatusCode::OK);
}

async fn read(client: &Client) -> Events {
    client.get("/answers/1").await.events()
}

async fn resume(client: &Client, last_event_id: &str) -> Events {
    let request = client.get("/answers/1").last_event_id(last_event_id);
    request.await.events()
}

async fn word(events: &mut Events) -> String {
    match events.expect_event().await.decode() {
        Piece::Word(word) => word,
        other => panic!("expected a word, not {other:?}"),
    }
}

/// Reads until the stream ends. Returns the words and whether the answer finished.
async fn rest(events: &mut Events) -> (String, bool) {
    let (mut content, mut is_finished) = (String::new(), false);
    loop {
        let event = events.expect_event().await;
        if event.event == "done" {
            events.expect_end().await;
            return (content, is_finished);
        }
        assert!(!is_finished, "{event:?} after the end");
        match event.decode() {
            Piece::Word(word) => content.push_str(&word),
            Piece::Finished => is_finished = true,
            Piece::Server(name) => panic!("unexpected server name {name}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_continue_without_readers() {
    let model = Model::default();
    let client = Client::new(app(in_memory(&model)));
    start(&client).await;
    let mut events = read(&client).await;
    word(&mut events).await;
    events.disconnect().await;
    assert_eq!(model.busy(), 1);

    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(model.busy(), 0);
    let (content, is_finished) = rest(&mut read(&client).await).await;
    assert_eq!(content, whole_answer().await);
    assert!(is_finished);
}

#[tokio::test(start_paused = true)]
async fn two_readers_get_the_same_events() {
    let client = Client::new(app(in_memory(&Model::default())));
    start(&client).await;
    let mut first = read(&client).await;
    let first_words = word(&mut first).await + &word(&mut first).await;
    // The second reader connects later, but still gets the earlier words.
    let mut second = read(&client).await;
    let (first, second) = tokio::join!(rest(&mut first), rest(&mut second));
    assert_eq!((first_words + &first.0, first.1), second);
    assert_eq!(second, (whole_answer().await, true));
}

#[tokio::test(start_paused = true)]
async fn reconnecting_client_gets_exactly_the_rest() {
    let client = Client::new(app(in_memory(&Model::default())));
    start(&client).await;
    let mut events = read(&client).await;
    let first_words = word(&mut events).await + &word(&mut events).await;
    let seen = events.last_event_id().to_owned();
    events.disconnect().await;

    tokio::time::sleep(Duration::from_millis(500)).await;
    let (content, is_finished) = rest(&mut resume(&client, &seen).await).await;
    assert_eq!(first_words + &content, whole_answer().await);
    assert!(is_finished);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_answer_for_all_readers() {
    let model = Model::default();
    let client = Client::new(app(in_memory(&model)));
    start(&client).await;
    let (mut first, mut second) = (read(&client).await, read(&client).await);
    let first_words = word(&mut first).await + &word(&mut first).await;

    let stop = client.request(Method::DELETE, "/answers/1");
    assert_eq!(stop.await.status(), StatusCode::NO_CONTENT);
    assert_eq!(rest(&mut first).await, (String::new(), false));
    assert_eq!(rest(&mut second).await, (first_words.clone(), false));
    assert_eq!(model.busy(), 0);
    // The answer stays stopped. A reloaded page receives the words written so far, and posting the
    // question again does not restart the answer.
    start(&client).await;
    assert_eq!(rest(&mut read(&client).await).await, (first_words, false));
}

#[tokio::test(start_paused = true)]
async fn answers_posted_twice_are_written_once() {
    let model = Model::default();
    let client = Client::new(app(in_memory(&model)));
    tokio::join!(start(&client), start(&client));
    assert_eq!(model.busy(), 1);
    let mut events = read(&client).await;
    let first_words = word(&mut events).await;
    start(&client).await;
    assert_eq!(model.busy(), 1);
    let (content, _) = rest(&mut events).await;
    assert_eq!(first_words + &content, whole_answer().await);
    start(&client).await;
    assert_eq!(model.busy(), 0);
}

#[tokio::test]
async fn unknown_answers_are_not_found() {
    let client = Client::new(app(in_memory(&Model::default())));
    let response = client.get("/answers/1").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let empty = json!({ "model": "parrot-1", "messages": [] });
    let error = rejected(client.post("/answers/1").json(&empty).await).await;
    assert_eq!(error["param"], "messages");
    let response = client.get("/answers/1").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn finished_answers_are_replayed_then_end_with_204() {
    let client = Client::new(app(in_memory(&Model::default())));
    start(&client).await;
    let first = rest(&mut read(&client).await).await;
    let mut events = read(&client).await;
    assert_eq!(rest(&mut events).await, first);
    let seen = events.last_event_id();
    let again = client.get("/answers/1").last_event_id(seen).await;
    assert_eq!(again.status(), StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn repeated_question_continues_after_the_last_word() {
    let client = Client::new(app(in_memory(&Model::default())));
    start(&client).await;
    let mut events = read(&client).await;
    let first_words = word(&mut events).await + &word(&mut events).await;
    let request = json!({ "model": "parrot-1", "messages": [{ "role": "user", "content": "?" }] });
    let again = client.post("/answers/1").json(&request);
    let mut events = again.last_event_id(events.last_event_id()).await.events();
    let (content, _) = rest(&mut events).await;
    assert_eq!(first_words + &content, whole_answer().await);
}

/// `UPDATE_CLIENTS=1 cargo test -p examples --example chat` updates the description and
/// the client, and then
/// `UPDATE_CLIENTS=1 cargo xtask contract examples` updates the script.
#[test]
fn page_uses_the_generated_client() {
    let api = Api::new("Chat", env!("CARGO_PKG_VERSION"));
    drop(endpoints(&api));
    let document = format!("{:#}\n", api.document());
    for (extension, new) in [("ts", api.typescript()), ("json", document)] {
        let path = format!("{}/clients/chat.{extension}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_CLIENTS").is_some() {
            std::fs::write(&path, &new).unwrap();
        }
        let is_current = std::fs::read_to_string(&path).unwrap() == new;
        assert!(is_current, "{path} is out of date");
    }
    assert_eq!(api.untyped(), [""; 0]);
    assert!(include_str!("chat.html").contains("of api.ask("));
}

/// Shuts down the first runtime in the middle of an answer, as if the server were restarted.
#[test]
fn interrupted_answer_ends_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("chat.redb");
    let open = async || {
        let args = NodeArgs {
            store: Some(file.to_str().unwrap().to_owned()),
            name: None,
        };
        let node = Node::open(args).await.unwrap();
        Client::new(app(App::new(Model::default(), node)))
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let last = runtime.block_on(async {
        let client = open().await;
        let question = json!({
            "model": "parrot-1",
            "messages": [{ "role": "user", "content": "What is an event stream?" }],
        });
        let started = client.post("/answers/1").json(&question).await;
        assert_eq!(started.status(), StatusCode::OK);
        let mut events = client.get("/answers/1").await.events();
        events.expect_event().await.id
    });
    drop(runtime);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = open().await;
        let request = client.get("/answers/1").last_event_id(&last);
        let mut events = request.await.events();
        let mut event = events.expect_event().await;
        while event.event == "word" {
            event = events.expect_event().await;
        }
        assert_eq!(event.event, "close");
        assert_eq!(event.data, r#"{"reason":"producer_lost"}"#);
        events.expect_end().await;
        let again = client.get("/answers/1").last_event_id(&event.id).await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT);
        let unknown = client.get("/answers/2").await;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    });
}

#[tokio::test]
async fn servers_share_answers_in_redis() {
    let directory = tempfile::tempdir().unwrap();
    let [port] = free_ports().unwrap();
    let redis = Program::redis("redis", directory.path(), port, None).unwrap();
    let _redis = Process::start(redis).await.unwrap();
    let models = [Model::default(), Model::default()];
    let server = async |name: &str, model: &Model| {
        let args = NodeArgs {
            store: Some(format!("redis://127.0.0.1:{port}")),
            name: Some(name.to_owned()),
        };
        let node = Node::open(args).await.unwrap();
        Client::new(app(App::new(model.clone(), node)))
    };
    let a = server("a", &models[0]).await;
    let b = server("b", &models[1]).await;
    start(&a).await;
    // The page posts the question again if it is reloaded, and the other server may receive it.
    start(&b).await;
    let mut events = read(&b).await;
    let name = events.expect_event().await;
    assert_eq!((&*name.event, &*name.data, &*name.id), ("server", "b", ""));
    let first_words = word(&mut events).await;
    assert_eq!(models.map(|model| model.busy()), [1, 0]);

    let stop = b.request(Method::DELETE, "/answers/1");
    assert_eq!(stop.await.status(), StatusCode::NO_CONTENT);
    let (content, is_finished) = rest(&mut events).await;
    assert!(!is_finished);
    assert!(whole_answer().await.starts_with(&(first_words + &content)));
}
