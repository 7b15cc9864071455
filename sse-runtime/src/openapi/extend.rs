//! Merges the document of the endpoints into another document.

use serde_json::{Map, Value, json};

use super::schemas;

/// Adds the paths and schemas of `ours` to `document`.
#[track_caller]
pub(super) fn extend(mut document: Value, mut ours: Value) -> Value {
    let Value::Object(base) = &mut document else {
        panic!("an OpenAPI document must be a JSON object");
    };
    base.insert("openapi".to_owned(), ours["openapi"].clone());
    let info = ours["info"].take();
    base.entry("info").or_insert(info);

    let taken = object(object(base, "components"), "schemas");
    rename_schemas(&mut ours, taken);
    let schemas = ours.pointer_mut("/components/schemas").map(Value::take);
    if let Some(Value::Object(schemas)) = schemas {
        taken.extend(schemas);
    }

    let paths = object(base, "paths");
    if let Value::Object(added) = ours["paths"].take() {
        for (path, item) in added {
            let operations = object(paths, &path);
            let Value::Object(item) = item else { continue };
            for (method, operation) in item {
                assert!(
                    !operations.contains_key(&method),
                    "both documents describe `{} {path}`; remove it from the other document, because `Api` already describes it",
                    method.to_ascii_uppercase()
                );
                operations.insert(method, operation);
            }
        }
    }
    document.sort_all_objects();
    document
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
    let differs =
        |(name, schema): &(&String, &Value)| taken.get(*name).is_some_and(|other| other != *schema);
    let renamed: Vec<(String, String)> = own
        .iter()
        .filter(differs)
        .map(|(name, _)| {
            let is_taken = |free: &str| taken.contains_key(free) || own.contains_key(free);
            (name.clone(), schemas::free(name, is_taken))
        })
        .collect();
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
