//! A server whose streams end, with endpoints of every kind. Its document must describe everything
//! that it sends.

use axum::{
    Form, Json, Router,
    extract::{Path, Query, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sse_runtime::{
    Event, LastEventId, SseError, SseEvent, SseRouterExt as _, Start, Stream, Text, Topic,
    openapi::Api, sse_endpoint,
};

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Item {
    unit_price: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    tags: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Place {
    Shelf { row: u8 },
    Truck,
}

#[derive(Debug, SseEvent, JsonSchema)]
#[sse(rename_all = "kebab-case")]
enum Step {
    /// The order has been accepted.
    Accepted {
        #[sse(id)]
        #[serde(skip)]
        number: u64,
        items: Vec<Item>,
    },
    PickedUp(Item),
    Moved {
        #[serde(flatten)]
        place: Place,
    },
    #[sse(text)]
    Note(String),
    #[sse(message)]
    Progress {
        done: u32,
    },
    Delivered,
}

#[derive(Debug, SseError)]
enum OrderError {
    /// The order does not exist.
    #[sse(status = 404, detail = "Look at the list of orders")]
    NoOrder { id: u64 },
    #[sse(status = 429, type = "urn:example:busy")]
    Busy {
        #[sse(retry_after)]
        after: Option<u32>,
    },
    #[sse(status = 502)]
    Lost {
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<Item>,
    },
}

/// The steps of an order.
///
/// Orders below 100 exist.
#[sse_endpoint("/orders/{id}/steps", retry = "20ms", end = "stop")]
async fn steps(
    Path(id): Path<u64>,
    last: LastEventId<u64>,
) -> Result<impl Stream<Item = Result<Step, OrderError>>, OrderError> {
    if id >= 100 {
        return Err(OrderError::NoOrder { id });
    }
    if id % 10 == 9 {
        let after = (id % 20 == 9).then_some(3);
        return Err(OrderError::Busy { after });
    }
    let item = Item {
        unit_price: 9.99,
        note: (id % 2 == 0).then(|| "fragile".to_owned()),
        tags: vec!["new".to_owned()],
    };
    let number = last.ok().unwrap_or(0);
    let items = vec![item.clone()];
    yield_!(Step::Accepted { number, items });
    yield_!(Step::PickedUp(item.clone()));
    yield_!(Step::Moved {
        place: Place::Shelf { row: 1 }
    });
    yield_!(Step::Moved {
        place: Place::Truck
    });
    yield_!(Step::Note("two\nlines".to_owned()));
    yield_!(Step::Progress { done: 7 });
    if id % 10 == 8 {
        let last = (id % 20 == 8).then_some(item);
        return Err(OrderError::Lost { last });
    }
    yield_!(Step::Delivered);
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// The largest number of items.
    limit: Option<u8>,
    #[serde(default)]
    cheap: bool,
}

#[sse_endpoint("/items")]
async fn items(
    Query(filter): Query<Filter>,
    State(topic): State<Topic<Item>>,
    last: LastEventId,
) -> impl Stream<Item = Item> {
    let limit = usize::from(filter.limit.unwrap_or(u8::MAX));
    let mut items = topic.subscribe(last.or(Start::First));
    let mut sent = 0;
    while let Some(item) = items.next().await {
        if sent == limit {
            return;
        }
        if !filter.cheap || item.unit_price < 5.0 {
            sent += 1;
            yield_!(item);
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Question {
    words: Vec<String>,
    #[serde(default)]
    limit: u8,
}

#[derive(Debug, SseEvent, JsonSchema)]
enum Answer {
    Word {
        index: usize,
        word: String,
    },
    #[sse(event = "word count")]
    Count(usize),
}

#[sse_endpoint("/answers", method = POST)]
async fn answers(Json(question): Json<Question>) -> impl Stream<Item = Answer> {
    let words = question.words.into_iter().take(question.limit.into());
    let mut count = 0;
    for (index, word) in words.enumerate() {
        count += 1;
        yield_!(Answer::Word { index, word });
    }
    yield_!(Answer::Count(count));
    yield_!(Event::done());
}

#[derive(Deserialize, JsonSchema)]
struct Line {
    text: String,
}

#[sse_endpoint("/lines", method = POST)]
async fn lines(Form(line): Form<Line>) -> impl Stream<Item = Text<String>> {
    yield_!(Text(line.text));
}

#[sse_endpoint("/words", method = POST)]
async fn words(text: String) -> impl Stream<Item = String> {
    for word in text.split(' ') {
        yield_!(word.to_owned());
    }
}

/// Sends an event that its document does not allow, because another function sets its name.
#[sse_endpoint("/mistaken")]
async fn mistaken() -> impl Stream<Item = Answer> {
    yield_!(mistake());
}

fn mistake() -> Event<Answer> {
    Event::json(Answer::Count(1)).event("mistake")
}

/// Sends data that its document does not allow, because schemars does not know what a custom
/// serializer writes.
#[sse_endpoint("/misprinted")]
async fn misprinted() -> impl Stream<Item = Misprint> {
    yield_!(Misprint { number: 1 });
}

#[derive(Serialize, JsonSchema)]
struct Misprint {
    #[serde(serialize_with = "as_text")]
    number: u32,
}

fn as_text<S: serde::Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// A server, and its descriptions.
pub(super) struct Example {
    pub(super) app: Router,
    pub(super) api: Api,
}

/// Returns the server whose document is correct.
pub(super) async fn correct() -> Result<Example, String> {
    let topic = Topic::in_memory(16);
    for price in [1.5, 4.5, 9.5] {
        let tags = Vec::new();
        let item = Item {
            unit_price: price,
            note: None,
            tags,
        };
        let published = topic.publish(&item).await;
        published.map_err(|error| error.to_string())?;
    }
    let finished = topic.finish().await;
    finished.map_err(|error| error.to_string())?;
    let api = Api::new("Example", "1.0.0");
    let app = Router::new()
        .sse(api.of(steps))
        .sse(api.of(items))
        .sse(api.of(answers))
        .sse(api.of(lines))
        .sse(api.of(words))
        .route("/openapi.json", api.json())
        .with_state(topic);
    Ok(Example { app, api })
}

/// Returns the servers whose documents contain one mistake each.
pub(super) fn wrong() -> [Example; 2] {
    let with = |add: &dyn Fn(&Api) -> Router| {
        let api = Api::new("Example", "1.0.0");
        let app = add(&api).route("/openapi.json", api.json());
        Example { app, api }
    };
    [
        with(&|api| Router::new().sse(api.of(mistaken))),
        with(&|api| Router::new().sse(api.of(misprinted))),
    ]
}
