//! Documents that are merged with those of other crates.

use std::panic::catch_unwind;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sse_runtime::{Stream, openapi::Api, sse_endpoint};

#[derive(Serialize, JsonSchema)]
struct Price {
    value: u32,
}

#[sse_endpoint("/prices")]
async fn prices() -> impl Stream<Item = Price> {
    yield_!(Price { value: 1 });
}

fn extended(document: Value) -> Value {
    let api = Api::new("Prices", "1.0.0");
    drop(api.of(prices));
    api.extend(document)
}

/// Returns the reference to the schema of a price.
fn reference(document: &Value) -> &Value {
    let data = "/components/schemas/prices.message/properties/data/contentSchema/$ref";
    document.pointer(data).unwrap()
}

#[test]
fn paths_and_schemas_of_both_documents_are_kept() {
    let document = extended(json!({
        "openapi": "3.1.0",
        "info": { "title": "Shop", "version": "2.0.0" },
        "paths": { "/prices": { "post": { "operationId": "set_price" } } },
        "components": { "schemas": { "Order": {} }, "securitySchemes": { "key": {} } },
    }));
    assert_eq!(document["openapi"], "3.2.0");
    assert_eq!(document["info"]["title"], "Shop");
    assert_eq!(
        document["paths"]["/prices"]["post"]["operationId"],
        "set_price"
    );
    assert_eq!(document["paths"]["/prices"]["get"]["operationId"], "prices");
    assert!(document["components"]["schemas"]["Order"].is_object());
    assert!(document["components"]["securitySchemes"]["key"].is_object());
    assert_eq!(reference(&document), "#/components/schemas/Price");
}

#[test]
fn schema_whose_name_is_taken_is_renamed() {
    let document = extended(json!({
        "components": { "schemas": { "Price": { "type": "string" } } },
    }));
    assert_eq!(
        document["components"]["schemas"]["Price"],
        json!({ "type": "string" })
    );
    assert_eq!(reference(&document), "#/components/schemas/Price2");
    assert!(document["components"]["schemas"]["Price2"]["properties"]["value"].is_object());
}

#[test]
fn endpoint_that_is_described_twice_panics() {
    let panic = catch_unwind(|| {
        extended(json!({ "paths": { "/prices": { "get": {} } } }));
    });
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("both documents describe `GET /prices`"));
}
