//! Tests the descriptions of endpoints.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod conflicts;
mod extended;
mod frames;
mod module;
mod rooms;
mod served;
#[allow(unused_qualifications, reason = "`proptest_derive` qualifies names")]
mod zoo;

use std::{env, fs, path::Path};

/// Compares a printed description with a file. `UPDATE_PRINTED=1 cargo test -p tests --test openapi`
/// updates the files.
#[track_caller]
fn compare(name: &str, printed: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi/printed");
    let path = folder.join(name);
    if env::var_os("UPDATE_PRINTED").is_some() {
        fs::write(&path, printed).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(printed, expected, "{}", path.display());
}

fn pretty(document: &serde_json::Value) -> String {
    serde_json::to_string_pretty(document).unwrap() + "\n"
}

#[test]
fn document_describes_all_parts_of_endpoints() {
    compare("rooms.json", &pretty(&rooms::api().document()));
}

#[test]
fn older_document_describes_the_data_of_events() {
    compare("rooms.3.1.json", &pretty(&rooms::api().document_3_1()));
}

#[test]
fn module_declares_events_and_methods() {
    let module = rooms::api().typescript();
    let (declarations, _) = module.split_once("/** Headers, or").unwrap();
    compare("rooms.ts", declarations);
}

#[test]
fn large_integers_are_declared_as_strings_on_request() {
    let module = rooms::api().large_integers_as_strings().typescript();
    assert!(module.contains("export type Call = {\n  count: number | string;"));
    assert!(module.contains("large: true"));
}

#[test]
fn everything_in_the_rooms_has_a_schema() {
    assert_eq!(rooms::api().untyped(), [""; 0]);
}
