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

#[derive(Serialize, JsonSchema)]
struct Nested {
    inner: Inner,
}

#[derive(Serialize, JsonSchema)]
struct Inner {
    x: u8,
}

#[sse_endpoint("/nested")]
async fn nested() -> impl Stream<Item = Nested> {
    yield_!(Nested {
        inner: Inner { x: 1 }
    });
}

#[test]
fn document_of_an_older_version_is_rejected() {
    for document in [json!({ "swagger": "2.0" }), json!({ "openapi": "3.0.3" })] {
        assert!(
            catch_unwind(|| extended(document.clone())).is_err(),
            "{document}"
        );
    }
}

fn extended(document: Value) -> Value {
    let api = Api::new("Prices", "1.0.0");
    drop(api.of(prices));
    drop(api.of(nested));
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

/// The other document has a schema that equals ours, but refers to a different one.
#[test]
fn schema_that_refers_to_another_one_is_renamed() {
    let ours = extended(json!({}));
    let outer = &ours["components"]["schemas"]["Nested"];
    let document = extended(json!({
        "components": { "schemas": { "Nested": outer, "Inner": { "type": "string" } } },
    }));
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Nested"], *outer);
    assert_eq!(schemas["Inner"], json!({ "type": "string" }));
    let reference = "/properties/inner/$ref";
    let inner = schemas["Nested2"].pointer(reference).unwrap();
    assert_eq!(inner, "#/components/schemas/Inner2");
}

#[test]
fn operation_id_that_is_taken_panics() {
    let panic = catch_unwind(|| {
        extended(json!({ "paths": { "/a": { "get": { "operationId": "prices" } } } }));
    });
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("both documents have an operation with the id `prices`"));
}

/// A path item and a webhook, both with methods that OpenAPI 3.2 does not name.
#[test]
fn operation_ids_in_all_places_are_taken() {
    let other = json!({ "additionalOperations": { "COPY": { "operationId": "prices" } } });
    for document in [
        json!({ "paths": { "/a": other } }),
        json!({ "webhooks": { "a": other } }),
        json!({ "components": { "pathItems": { "a": other } } }),
    ] {
        let panic = catch_unwind(|| drop(extended(document)));
        let message = *panic.unwrap_err().downcast::<String>().unwrap();
        assert!(message.starts_with("both documents have an operation with the id `prices`"));
    }
}

#[test]
fn shared_path_items_are_copied() {
    let shop = |operation: &str| {
        json!({
            "paths": {
                "/prices": { "$ref": "#/components/pathItems/a~1b" },
                "/other": { "$ref": "#/components/pathItems/a~1b" },
            },
            "components": { "pathItems": { "a/b": {
                operation: { "operationId": "set" },
                "additionalOperations": { "COPY": { "operationId": "copy" } },
            } } },
        })
    };
    let document = extended(shop("put"));
    let item = &document["paths"]["/prices"];
    assert_eq!(item["get"]["operationId"], "prices");
    assert_eq!(item["put"]["operationId"], "set");
    assert_eq!(item["additionalOperations"]["COPY"]["operationId"], "copy");
    assert_eq!(item["$ref"], Value::Null);
    // Other references to the same item still refer to what it was.
    let shared = &document["components"]["pathItems"]["a/b"];
    assert_eq!(shared["get"], Value::Null);
    assert_eq!(
        document["paths"]["/other"]["$ref"],
        "#/components/pathItems/a~1b"
    );

    let panic = catch_unwind(|| drop(extended(shop("get"))));
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("both documents describe `GET /prices`"));
}

#[test]
fn unknown_reference_of_a_path_item_panics() {
    for reference in [
        "shop.json#/a",
        "#/components/pathItems/none",
        "#/components/pathItems/self",
    ] {
        let panic = catch_unwind(|| {
            extended(json!({
                "paths": { "/prices": { "$ref": reference } },
                "components": { "pathItems": { "self": { "$ref": "#/components/pathItems/self" } } },
            }));
        });
        let message = *panic.unwrap_err().downcast::<String>().unwrap();
        let expected = format!("the path item of `/prices` refers to `{reference}`");
        assert!(message.starts_with(&expected), "{message}");
    }
}
