//! Runs that fail or are stopped.

use std::{collections::BTreeSet, future::pending, sync::atomic::Ordering};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
};
use sse_runtime::{
    Event, Hub, LastEventId, Start, Stream, Topic, sse_endpoint, testing, topic::HubError,
};
use support::{Client, CutOff, SseRouterExt as _, Store, serve, within};
use test_case::test_case;

use super::{
    Answers, IDLE, OutOfWords, WITHOUT_DETAILS, five, hub, pass, publish, several, words_and_error,
};

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn each_reader_of_a_failed_run_receives_its_error(store: Store) {
    for (name, error) in [
        ("fails", r#"{"code":"out_of_words","status":503}"#),
        ("panics", WITHOUT_DETAILS),
        ("fails-unseen", WITHOUT_DETAILS),
    ] {
        let answers = Answers::new(&store).await;
        let client = answers.client();
        let path = format!("/answers/{name}");
        let mut events = client.get(&path).await.events();
        answers.words.add_permits(5);
        let first = events.expect_event().await;
        let (words, data, id) = words_and_error(&mut events).await;
        assert_eq!((words, data.as_str()), (five()[1..2].to_vec(), error));

        // One client joins late, and another reconnects after losing its connection.
        let mut again = client.get(&path).await.events();
        let all = words_and_error(&mut again).await;
        assert_eq!(all, (five()[..2].to_vec(), data.clone(), id.clone()));
        let mut back = client.get(&path).last_event_id(&first.id).await.events();
        let rest = words_and_error(&mut back).await;
        assert_eq!(rest, (five()[1..2].to_vec(), data, id.clone()));

        let stopped = client.get(&path).last_event_id(&id).await;
        assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
        assert_eq!(answers.started.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_run_is_dropped_when_idle() {
    for name in ["fails", "panics", "fails-unseen"] {
        let answers = Answers::new(&Store::Memory).await;
        let client = answers.client();
        let path = format!("/answers/{name}");
        answers.words.add_permits(5);
        let first = words_and_error(&mut client.get(&path).await.events()).await;
        pass(IDLE / 2).await;
        let again = words_and_error(&mut client.get(&path).await.events()).await;
        assert_eq!(again, first);
        assert_eq!(answers.started.load(Ordering::Relaxed), 1);
        pass(IDLE * 2).await;
        assert_eq!(answers.hub.len(), 0);
    }
}

/// Always sends `done` at the end, like a handler that does not check how the run ended.
#[sse_endpoint("/sends_done/{id}")]
async fn sends_done(
    Path(id): Path<String>,
    State(hub): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, StatusCode> {
    let answer = hub.get(&id).ok_or(StatusCode::NOT_FOUND)?;
    let mut updates = answer.subscribe(last.or(Start::First));
    while let Some(update) = updates.next().await {
        yield_!(update);
    }
    yield_!(Event::done());
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn failed_run_sends_no_done(store: Store) {
    let hub = hub(&store, 10).await;
    let failing = async |_| Err("no".to_owned());
    let mut updates = hub.spawn("a", Start::First, failing).await.unwrap();
    assert!(
        within("the end of the stream", updates.next())
            .await
            .is_none()
    );
    assert!(updates.has_failed());
    let app = Router::new().sse(sends_done).sse(several);
    let client = testing::Client::new(app.with_state(hub.clone()));
    hub.topic("b").await.unwrap().finish().await.unwrap();
    for path in ["/sends_done/a", "/several/a,b"] {
        let mut events = client.get(path).await.events();
        let (words, data, id) = words_and_error(&mut events).await;
        assert_eq!((words, data.as_str()), (vec![], "\"no\""));
        assert!(id.ends_with("~done"), "{id}");
    }
}

/// Publishes part of an answer and then fails.
async fn half(topic: Topic<String>) -> Result<(), String> {
    topic.publish(&"half".to_owned()).await.unwrap();
    Err("upstream".to_owned())
}

/// Yields a custom end marker and then waits, like a handler that ignores failures.
#[sse_endpoint("/own_marker", method = POST)]
async fn own_marker(
    State(hub): State<Hub<String>>,
) -> Result<impl Stream<Item = String>, HubError> {
    let mut run = hub.spawn_again("post", Start::First, half).await?;
    while let Some(word) = run.next().await {
        yield_!(word);
    }
    yield_!(Event::text("[DONE]"));
    pending::<()>().await;
}

/// Like `own_marker`, for an `EventSource`.
#[sse_endpoint("/own_event/{how}")]
async fn own_event(
    Path(how): Path<String>,
    State(hub): State<Hub<String>>,
) -> impl Stream<Item = String> {
    let Ok(mut run) = hub.spawn_again(&how, Start::First, half).await else {
        return;
    };
    let mut words = Vec::new();
    while let Some(word) = run.next().await {
        words.push(word);
    }
    match &*how {
        "event" => yield_!(Event::text("all").event("end")),
        "all" => yield_all!(tokio_stream::iter(words)),
        _ => yield_!(Event::comment("bye")),
    }
    pending::<()>().await;
}

/// Returns a custom error if the run failed.
#[sse_endpoint("/own_error")]
async fn own_error(State(hub): State<Hub<String>>) -> impl Stream<Item = Result<String, String>> {
    let run = hub.spawn_again("error", Start::First, half).await;
    let mut run = run.map_err(|error| error.to_string())?;
    while let Some(word) = run.next().await {
        yield_!(word);
    }
    Err("custom".to_owned())?;
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn handler_sends_nothing_after_a_failed_run(store: Store) {
    let app = Router::new().sse(own_marker).sse(own_event).sse(own_error);
    let addr = serve(app.with_state(hub(&store, 10).await)).await;
    let mut client = Client::post(addr, "/own_marker", 0, b"").await;
    client.head().await;
    let half = within("a word", client.expect_chunk()).await;
    assert!(half.ends_with("data: \"half\"\n\n"), "{half:?}");
    let error = within("the error", client.expect_chunk()).await;
    assert_eq!(error, "event: error\ndata: \"upstream\"\n\n");
    assert_eq!(
        within("the end of the stream", client.chunk()).await,
        Ok(None)
    );

    for how in ["event", "all", "comment"] {
        let mut client = Client::get(addr, &format!("/own_event/{how}")).await;
        client.head().await;
        let error = within("the error", client.expect_chunk()).await;
        assert!(error.starts_with("event: error\nid: "), "{how}: {error:?}");
        assert!(
            error.ends_with("data: \"upstream\"\n\n"),
            "{how}: {error:?}"
        );
        assert_eq!(
            within("the end of the stream", client.chunk()).await,
            Ok(None),
            "{how}"
        );
    }

    let mut client = Client::get(addr, "/own_error").await;
    client.head().await;
    let mut text = String::new();
    while !text.contains("\"custom\"") {
        text.push_str(&within("the error", client.expect_chunk()).await);
    }
    assert!(
        text.contains("\"half\"") && !text.contains("upstream"),
        "{text}"
    );
    assert_eq!(
        within("the end of the stream", client.chunk()).await,
        Ok(None)
    );
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn subscription_fails_with_one_of_its_topics(store: Store) {
    let hub = hub(&store, 10).await;
    let mut run = hub.spawn("f", Start::First, half).await.unwrap();
    while within("a word", run.next()).await.is_some() {}
    publish(&hub, "live", "live 1").await;
    let mut updates = hub.subscribe(["f", "live"], Start::First).await.unwrap();
    let mut words = BTreeSet::new();
    while let Some(update) = within("a word", updates.next()).await {
        words.insert((*update).clone());
    }
    assert!(updates.has_failed());
    assert!(words.contains("half"), "{words:?}");

    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    let path = "/several/f,live";
    let at = hub
        .subscribe(["f", "live"], Start::Now)
        .await
        .unwrap()
        .position();
    let mut events = client.get(path).last_event_id(at).await.events();
    let (_, data, id) = words_and_error(&mut events).await;
    assert_eq!(data, "\"upstream\"");
    // The client gets a 204 even though the other topic is still active.
    publish(&hub, "live", "live 2").await;
    let stopped = client.get(path).last_event_id(&id).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
}

/// Reads a run that the test stops, and then yields an end marker.
#[sse_endpoint("/read_stopped", method = POST)]
async fn read_stopped(
    State(hub): State<Hub<String>>,
) -> Result<impl Stream<Item = String>, HubError> {
    let run = hub
        .spawn("s", Start::First, |topic| async move {
            topic.publish(&"half".to_owned()).await.unwrap();
            pending::<()>().await;
        })
        .await?;
    yield_all!(run);
    yield_!(Event::text("[DONE]"));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn stopped_run_cuts_off_a_post(store: Store) {
    let hub = hub(&store, 10).await;
    let app = Router::new().sse(read_stopped).with_state(hub.clone());
    let addr = serve(app).await;
    for when in ["while it is read", "before"] {
        let mut client = Client::post(addr, "/read_stopped", 0, b"").await;
        client.head().await;
        within("a word", client.expect_chunk()).await;
        hub.abort("s").await.unwrap();
        let end = within("the end of the stream", client.chunk()).await;
        assert_eq!(end, Err(CutOff), "{when}");
    }
}

/// Reads a run that fails in the way that `how` specifies, and then yields a custom end marker.
#[sse_endpoint("/read_failed/{how}", method = POST)]
async fn read_failed(
    Path(how): Path<String>,
    State(hub): State<Hub<String>>,
) -> Result<impl Stream<Item = String>, HubError> {
    let name = how.clone();
    let run = hub
        .spawn(&name, Start::First, |topic| async move {
            topic.publish(&"half".to_owned()).await.unwrap();
            match how.as_str() {
                "shown" => Err(OutOfWords::Shown {
                    code: "out_of_words",
                    status: 503,
                }),
                "not serialized" => Err(OutOfWords::Broken),
                _ => panic!("on purpose"),
            }
        })
        .await?;
    yield_all!(run);
    yield_!(Event::text("[DONE]"));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn post_receives_the_error_of_a_failed_run(store: Store) {
    let log = support::log::Log::capture();
    let app = Router::new().sse(read_failed);
    let addr = serve(app.with_state(hub(&store, 10).await)).await;
    let unexplained = "the run did not finish and the client cannot be notified";
    for when in ["while it runs", "after it has failed"] {
        let mut client = Client::post(addr, "/read_failed/shown", 0, b"").await;
        client.head().await;
        let mut body = String::new();
        while let Some(chunk) = within("the end of the stream", client.chunk())
            .await
            .unwrap()
        {
            body.push_str(&chunk);
        }
        let (half, error) = body.split_once("data: \"half\"\n\n").unwrap();
        let half = half.strip_prefix("id: ").unwrap();
        assert_eq!(store.number(half.trim_end()), 1, "{half:?}");
        // The handler's error is sent, but without the ID that would stop a browser from
        // reconnecting.
        let expected = "event: error\ndata: {\"code\":\"out_of_words\",\"status\":503}\n\n";
        assert_eq!(error, expected, "{when}");
        assert!(client.received().is_empty(), "{when}");
    }
    assert!(!log.text().contains(unexplained), "{}", log.text());

    for how in ["not serialized", "panics"] {
        let path = format!("/read_failed/{}", how.replace(' ', "%20"));
        let mut client = Client::post(addr, &path, 0, b"").await;
        client.head().await;
        let half = within("a word", client.expect_chunk()).await;
        assert!(half.ends_with("data: \"half\"\n\n"), "{how}: {half:?}");
        let end = within("the end of the stream", client.chunk()).await;
        assert_eq!(end, Err(CutOff), "{how}");
    }
    assert_eq!(log.text().matches(unexplained).count(), 2, "{}", log.text());
}
