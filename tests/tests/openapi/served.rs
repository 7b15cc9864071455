//! The document that a server serves.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use sse_runtime::{SseRouterExt as _, Stream, openapi::Api, sse_endpoint, testing::Client};

/// How often the schema of `Counted` has been generated.
static GENERATED: AtomicUsize = AtomicUsize::new(0);

#[derive(serde::Serialize)]
struct Counted(u8);

impl JsonSchema for Counted {
    fn schema_name() -> Cow<'static, str> {
        "Counted".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        GENERATED.fetch_add(1, Ordering::Relaxed);
        u8::json_schema(generator)
    }
}

#[sse_endpoint("/counted")]
async fn counted() -> impl Stream<Item = Counted> {
    yield_!(Counted(1));
}

#[sse_endpoint("/later")]
async fn later() -> impl Stream<Item = Counted> {
    yield_!(Counted(2));
}

#[tokio::test]
async fn document_is_generated_once() {
    let api = Api::new("Counted", "1.0.0");
    let app: Router = Router::new()
        .sse(api.of(counted))
        .route("/openapi.json", api.json());
    let client = Client::new(app);
    let document = async || -> Value {
        let text = client.get("/openapi.json").await.text().await;
        serde_json::from_str(&text).unwrap()
    };
    let first = document().await;
    assert!(first["paths"]["/counted"].is_object());
    let generated = GENERATED.load(Ordering::Relaxed);
    assert_eq!(document().await, first);
    assert_eq!(GENERATED.load(Ordering::Relaxed), generated);
    // An endpoint that is added later is still described.
    drop(api.of(later));
    let second = document().await;
    assert!(second["paths"]["/later"].is_object());
    assert!(GENERATED.load(Ordering::Relaxed) > generated);
}
