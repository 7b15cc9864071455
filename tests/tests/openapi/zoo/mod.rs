//! Types of every kind. For each type, an endpoint sends generated values, and every frame must match
//! the endpoint's document.

mod containers;
mod endpoints;
mod enums;
mod errors;
mod fields;
mod names;
mod scalars;
mod structs;
mod untyped;

use std::{
    collections::BTreeSet,
    env, fmt, fs, mem,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Extension, Router};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value};
use sse_runtime::{
    openapi::Api,
    testing::{Client, Response},
};
use support::document::{Document, events};

use super::pretty;

/// The number of streams per type, and the largest number of values in a stream.
const STREAMS: u32 = 64;
const VALUES: usize = 8;

/// The values that an endpoint sends, or the only value if it is an error.
pub(crate) struct Values<T>(Arc<Mutex<Vec<T>>>);

impl<T> Values<T> {
    fn new(values: Vec<T>) -> Self {
        Self(Arc::new(Mutex::new(values)))
    }

    pub(crate) fn take(&self) -> Vec<T> {
        mem::take(&mut self.0.lock().unwrap())
    }
}

impl<T> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Defines endpoints and their tests. An endpoint `sends` values of a type, `fails` with one of them
/// before or in the stream, or `ends` its stream with an error that is not a response.
macro_rules! animals {
    ($(
        $name:ident: $kind:ident $type:ty
        $(, untyped: [$($untyped:literal),*])?
        $(, from: $strategy:expr)?;
    )*) => {
        $($crate::zoo::$kind! {
            $name: $type $(, untyped: [$($untyped),*])? $(, from: $strategy)?
        })*

        /// Adds the endpoints to a description of the whole zoo.
        pub(crate) fn add(api: &sse_runtime::openapi::Api) {
            $({
                let name = concat!(module_path!(), "_", stringify!($name));
                let name = name.trim_start_matches("openapi::zoo::").replace("::", "_");
                drop(api.at(&format!("/{name}")).named(&name, $name::values));
            })*
        }
    };
}
use animals;

/// Defines an endpoint that sends values of a type, and a test that checks its frames.
macro_rules! sends {
    ($name:ident: $type:ty) => {
        $crate::zoo::sends!($name: $type, untyped: []);
    };
    ($name:ident: $type:ty, from: $strategy:expr) => {
        $crate::zoo::sends!($name: $type, untyped: [], from: $strategy);
    };
    ($name:ident: $type:ty, untyped: [$($untyped:literal),*]) => {
        $crate::zoo::sends!($name: $type, untyped: [$($untyped),*], from: proptest::arbitrary::any::<$type>());
    };
    ($name:ident: $type:ty, untyped: [$($untyped:literal),*], from: $strategy:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "not every endpoint needs all of them")]
            use super::*;

            #[sse_runtime::sse_endpoint("/values")]
            pub(super) async fn values(
                axum::Extension(values): axum::Extension<$crate::zoo::Values<$type>>,
            ) -> impl sse_runtime::Stream<Item = $type> {
                for value in values.take() {
                    yield_!(value);
                }
            }

            #[test]
            fn frames_match_the_document() {
                let api = sse_runtime::openapi::Api::new("Zoo", "1.0.0");
                let app = sse_runtime::SseRouterExt::sse(axum::Router::new(), api.of(values));
                $crate::zoo::check_values(&api, &app, &[$($untyped),*], $strategy);
            }
        }
    };
}
use sends;

/// Defines an endpoint that fails with an error, either before the stream or in it, and a test that
/// checks its responses and frames.
macro_rules! fails {
    ($name:ident: $type:ty) => {
        $crate::zoo::fails!($name: $type, untyped: []);
    };
    ($name:ident: $type:ty, untyped: [$($untyped:literal),*]) => {
        mod $name {
            #[allow(unused_imports, reason = "not every endpoint needs all of them")]
            use super::*;

            #[sse_runtime::sse_endpoint("/values")]
            pub(super) async fn values(
                axum::Extension(values): axum::Extension<$crate::zoo::Values<$type>>,
                axum::extract::Query($crate::zoo::Begin { begins }): axum::extract::Query<$crate::zoo::Begin>,
            ) -> Result<impl sse_runtime::Stream<Item = Result<u8, $type>>, $type> {
                let mut values = values.take().into_iter();
                if !begins {
                    values.next().map_or(Ok(()), Err)?;
                }
                yield_!(1);
                values.next().map_or(Ok(()), Err)?;
            }

            #[test]
            fn failures_match_the_document() {
                let api = sse_runtime::openapi::Api::new("Zoo", "1.0.0");
                let app = sse_runtime::SseRouterExt::sse(axum::Router::new(), api.of(values));
                $crate::zoo::check_failures::<$type>(&api, &app, &[$($untyped),*]);
            }
        }
    };
}
use fails;

/// Defines an endpoint that fails in the stream, with an error that is not a response, and a test
/// that checks its frames.
macro_rules! ends {
    ($name:ident: $type:ty) => {
        $crate::zoo::ends!($name: $type, untyped: []);
    };
    ($name:ident: $type:ty, from: $strategy:expr) => {
        $crate::zoo::ends!($name: $type, untyped: [], from: $strategy);
    };
    ($name:ident: $type:ty, untyped: [$($untyped:literal),*]) => {
        $crate::zoo::ends!($name: $type, untyped: [$($untyped),*], from: proptest::arbitrary::any::<$type>());
    };
    ($name:ident: $type:ty, untyped: [$($untyped:literal),*], from: $strategy:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "not every endpoint needs all of them")]
            use super::*;

            #[sse_runtime::sse_endpoint("/values", error_event = "failed")]
            pub(super) async fn values(
                axum::Extension(values): axum::Extension<$crate::zoo::Values<$type>>,
            ) -> impl sse_runtime::Stream<Item = Result<Beat, $type>> {
                yield_!(Beat);
                values.take().into_iter().next().map_or(Ok(()), Err)?;
            }

            /// An item whose events all have names.
            #[derive(sse_runtime::SseEvent, schemars::JsonSchema)]
            struct Beat;

            #[test]
            fn failures_match_the_document() {
                let api = sse_runtime::openapi::Api::new("Zoo", "1.0.0");
                let app = sse_runtime::SseRouterExt::sse(axum::Router::new(), api.of(values));
                $crate::zoo::check_ends(&api, &app, &[$($untyped),*], $strategy);
            }
        }
    };
}
use ends;

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Begin {
    /// Whether the stream begins before it fails.
    pub(crate) begins: bool,
}

/// The documents of the only endpoint of an [`Api`].
struct Documents {
    document: Document,
    older: Document,
    is_typed: bool,
}

impl Documents {
    /// `untyped` are the expected ends of what [`Api::untyped`] returns.
    #[track_caller]
    fn new(api: &Api, untyped: &[&str]) -> Self {
        let found = api.untyped();
        let is_as_expected = found.len() == untyped.len()
            && found
                .iter()
                .zip(untyped)
                .all(|(found, end)| found.ends_with(end));
        assert!(is_as_expected, "untyped: {found:?}, expected {untyped:?}");
        Self {
            document: Document::new(api.document()),
            older: Document::new(api.document_3_1()),
            is_typed: found.is_empty(),
        }
    }

    /// Checks a complete stream, and returns the number of its events.
    fn check(&mut self, stream: &str) -> Result<usize, TestCaseError> {
        let events = events(stream);
        for event in &events {
            let fail = |problem| TestCaseError::fail(format!("{event:?}: {problem}"));
            let data = self.document.check_event("values", event).map_err(fail)?;
            self.older.check_older("values", &data).map_err(fail)?;
        }
        Ok(events.len())
    }

    /// Checks that an arbitrary event is not allowed, unless the endpoint's items can have any name.
    fn check_other(&mut self) {
        let other = events("event: no such event\ndata: {\"no such member\":[{}]}\n\n");
        let items = self.document.operation("values").to_string();
        if self.is_typed && !items.contains("values.message") {
            let allowed = self.document.check_event("values", &other[0]);
            assert!(allowed.is_err(), "the document allows any event");
        }
    }
}

/// Sends a request to an endpoint that sends or fails with these values.
fn respond<T: Send + 'static>(app: &Router, uri: &str, values: Vec<T>) -> (Response, Runtime) {
    let app = app.clone().layer(Extension(Values::new(values)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let response = runtime.block_on(async { Client::new(app).get(uri).await });
    (response, runtime)
}

type Runtime = tokio::runtime::Runtime;

fn run<T: fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    check: impl FnMut(T) -> Result<(), TestCaseError>,
) {
    let check = std::cell::RefCell::new(check);
    let config = Config {
        cases: STREAMS,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&strategy, |value| (check.borrow_mut())(value));
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[track_caller]
pub(crate) fn check_values<T>(
    api: &Api,
    app: &Router,
    untyped: &[&str],
    strategy: impl Strategy<Value = T>,
) where
    T: fmt::Debug + Send + 'static,
{
    let mut documents = Documents::new(api, untyped);
    documents.check_other();
    run(vec(strategy, 1..VALUES), |values| {
        let expected = values.len();
        let (response, runtime) = respond(app, "/values", values);
        let stream = runtime.block_on(response.text());
        prop_assert_eq!(documents.check(&stream)?, expected, "{}", stream);
        Ok(())
    });
}

pub(crate) fn check_failures<T>(api: &Api, app: &Router, untyped: &[&str])
where
    T: Arbitrary + Send + 'static,
{
    let mut documents = Documents::new(api, untyped);
    run((any::<T>(), any::<bool>()), |(value, begins)| {
        let (response, runtime) = respond(app, &format!("/values?begins={begins}"), vec![value]);
        let status = response.status().as_u16();
        let media_type = response
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        let retry_after = response.header("retry-after").map(str::to_owned);
        let body = runtime.block_on(response.text());
        if begins {
            prop_assert_eq!(documents.check(&body)?, 2, "{}", body);
            return Ok(());
        }
        let document = &mut documents.document;
        document
            .check_response("values", status, &media_type, &body)
            .map_err(TestCaseError::fail)?;
        let described = &document.operation("values")["responses"][status.to_string()];
        if let Some(after) = retry_after {
            prop_assert!(after.parse::<u64>().is_ok());
            prop_assert!(described["headers"]["Retry-After"].is_object());
        }
        Ok(())
    });
}

pub(crate) fn check_ends<T>(
    api: &Api,
    app: &Router,
    untyped: &[&str],
    strategy: impl Strategy<Value = T>,
) where
    T: fmt::Debug + Send + 'static,
{
    let mut documents = Documents::new(api, untyped);
    run(strategy, |value| {
        let (response, runtime) = respond(app, "/values", vec![value]);
        let stream = runtime.block_on(response.text());
        prop_assert_eq!(documents.check(&stream)?, 2, "{}", stream);
        Ok(())
    });
    documents.check_other();
}

/// Returns a description of all endpoints.
fn zoo() -> Api {
    let api = Api::new("Zoo", "1.0.0");
    containers::add(&api);
    enums::add(&api);
    enums::deprecating::add(&api);
    errors::add(&api);
    fields::add(&api);
    names::add(&api);
    names::colliding::add(&api);
    scalars::add(&api);
    structs::add(&api);
    untyped::add(&api);
    api
}

/// Describes all types in one document, in which many names collide. If the environment names a
/// directory, writes the descriptions there for the `contract` program.
#[test]
fn zoo_is_described_as_a_whole() {
    let api = zoo();
    let (document, older) = (api.document(), api.document_3_1());
    assert_eq!(dangling(&document), [""; 0]);
    assert_eq!(dangling(&older), [""; 0]);
    if let Some(folder) = env::var_os("DESCRIPTIONS") {
        let folder = Path::new(&folder);
        fs::write(folder.join("zoo.json"), pretty(&document)).unwrap();
        fs::write(folder.join("zoo.3.1.json"), pretty(&older)).unwrap();
        fs::write(folder.join("zoo.ts"), api.typescript()).unwrap();
    }
}

/// Returns the references in a document that refer to nothing, and the schemas that nothing refers
/// to.
fn dangling(document: &Value) -> Vec<String> {
    fn find(value: &Value, references: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    references.insert(reference.clone());
                }
                members.values().for_each(|member| find(member, references));
            }
            Value::Array(values) => values.iter().for_each(|value| find(value, references)),
            _ => {}
        }
    }
    let mut references = BTreeSet::new();
    find(document, &mut references);
    let schemas = document["components"]["schemas"].as_object();
    let names = schemas.into_iter().flat_map(Map::keys);
    let defined = names.map(|name| format!("#/components/schemas/{name}"));
    let defined: BTreeSet<String> = defined.collect();
    references.symmetric_difference(&defined).cloned().collect()
}
