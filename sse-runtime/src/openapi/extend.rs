//! Merges the document of the endpoints into another document.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schemas;

/// Adds the paths and schemas of `ours` to `document`.
#[track_caller]
pub(super) fn extend(mut document: Value, mut ours: Value) -> Value {
    let Value::Object(base) = &mut document else {
        panic!("an OpenAPI document must be a JSON object");
    };
    assert!(
        !base.contains_key("swagger"),
        "`Api::extend` does not support Swagger 2.0 documents; convert the document to OpenAPI 3.1"
    );
    let version = base.get("openapi").and_then(Value::as_str);
    assert!(
        !version.is_some_and(|version| version.starts_with("3.0")),
        "`Api::extend` does not support OpenAPI 3.0 documents; convert the document to OpenAPI 3.1"
    );
    base.insert("openapi".to_owned(), ours["openapi"].clone());
    let info = ours["info"].take();
    base.entry("info").or_insert(info);

    let taken = object(object(base, "components"), "schemas");
    rename_schemas(&mut ours, taken);
    let schemas = ours.pointer_mut("/components/schemas").map(Value::take);
    if let Some(Value::Object(schemas)) = schemas {
        taken.extend(schemas);
    }

    let names = operation_ids(base);
    let shared = base
        .get("components")
        .and_then(|components| components.get("pathItems"));
    let shared = shared.cloned().unwrap_or_default();
    let paths = object(base, "paths");
    if let Value::Object(added) = ours["paths"].take() {
        for (path, item) in added {
            let operations = object(paths, &path);
            resolve(operations, &shared, &path);
            let Value::Object(item) = item else { continue };
            for (method, operation) in item {
                assert!(
                    !operations.contains_key(&method),
                    "both documents describe `{} {path}`; remove it from the other document, because `Api` already describes it",
                    method.to_ascii_uppercase()
                );
                let name = operation["operationId"].as_str().unwrap_or_default();
                assert!(
                    !names.contains(name),
                    "both documents have an operation with the id `{name}`; choose another name with `api.named(\"…\", …)`"
                );
                operations.insert(method, operation);
            }
        }
    }
    document.sort_all_objects();
    document
}

/// Returns the ids of all operations, including those that a path item or a webhook shares with others
/// and those with other methods than OpenAPI's own.
///
/// Source: [OpenAPI 3.2, Path Item Object](https://spec.openapis.org/oas/v3.2.0.html#path-item-object).
fn operation_ids(document: &Map<String, Value>) -> BTreeSet<String> {
    let components = document.get("components").and_then(Value::as_object);
    let shared = components.and_then(|components| components.get("pathItems"));
    let items = ["paths", "webhooks"].map(|name| document.get(name));
    let items = items.into_iter().chain([shared]).flatten();
    let items = items.filter_map(Value::as_object).flat_map(Map::values);
    let items = items.filter_map(Value::as_object);
    let operations = items.flat_map(|item| {
        let others = item.get("additionalOperations").and_then(Value::as_object);
        item.values()
            .chain(others.into_iter().flat_map(Map::values))
    });
    let ids = operations.filter_map(|operation| operation.get("operationId")?.as_str());
    ids.map(str::to_owned).collect()
}

/// Replaces a reference to a shared path item with the item, because the meaning of members next to
/// such a reference is undefined.
///
/// Source: [OpenAPI 3.2, Path Item Object](https://spec.openapis.org/oas/v3.2.0.html#path-item-object).
#[track_caller]
fn resolve(item: &mut Map<String, Value>, shared: &Value, path: &str) {
    // A shared item can itself be a reference.
    let mut hops = 0;
    while let Some(reference) = item.remove("$ref") {
        let reference = reference.as_str().unwrap_or_default();
        let name = reference.strip_prefix("#/components/pathItems/");
        let name = name.map(|name| name.replace("~1", "/").replace("~0", "~"));
        let target = name.and_then(|name| shared.get(&name)?.as_object());
        let Some(target) = target.filter(|_| hops < 16) else {
            panic!(
                "the path item of `{path}` refers to `{reference}`, which `Api::extend` cannot read; replace the reference with the path item"
            );
        };
        hops += 1;
        for (name, value) in target {
            item.entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// Returns a member that is an object, and creates it if it is missing.
fn object<'a>(parent: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let member = parent.entry(name).or_insert_with(|| json!({}));
    match member {
        Value::Object(member) => member,
        _ => panic!("`{name}` must be a JSON object in an OpenAPI document"),
    }
}

/// Renames the schemas of `ours` whose names are taken by different schemas.
fn rename_schemas(ours: &mut Value, taken: &Map<String, Value>) {
    let Some(Value::Object(own)) = ours.pointer("/components/schemas").cloned() else {
        return;
    };
    // Two equal schemas also differ if they refer to schemas that differ.
    let mut differing: Vec<&String> = Vec::new();
    loop {
        let differs = |(name, schema): &(&String, &Value)| {
            let is_other =
                |other: &Value| other != *schema || schemas::refers_to(schema, &differing);
            taken.get(*name).is_some_and(is_other)
        };
        let next: Vec<&String> = own.iter().filter(differs).map(|(name, _)| name).collect();
        let is_complete = next.len() == differing.len();
        differing = next;
        if is_complete {
            break;
        }
    }
    let is_taken = |free: &str| taken.contains_key(free) || own.contains_key(free);
    let renamed = differing
        .into_iter()
        .map(|name| (name.clone(), schemas::free(name, is_taken)));
    let renamed: Vec<(String, String)> = renamed.collect();
    if renamed.is_empty() {
        return;
    }
    schemas::rename(ours, &renamed);
    if let Some(Value::Object(schemas)) = ours.pointer_mut("/components/schemas") {
        for (from, to) in renamed {
            if let Some(schema) = schemas.remove(&from) {
                schemas.insert(to, schema);
            }
        }
    }
}
