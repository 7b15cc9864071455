//! Descriptions of endpoints for clients: OpenAPI documents, a TypeScript client, and a page for
//! trying out streams.
//!
//! The compiler knows the path, the parameters, the events and the errors of every endpoint.
//! [`Api`] collects them and generates the descriptions.
//!
//! ```
//! use axum::{Router, extract::Path};
//! use schemars::JsonSchema;
//! use sse_runtime::{SseEvent, SseRouterExt, Stream, openapi::Api, sse_endpoint};
//!
//! #[derive(SseEvent, JsonSchema)]
//! enum AnswerEvent {
//!     /// A piece of the answer.
//!     Token { text: String },
//!     Finished,
//! }
//!
//! /// The answer of a room's model.
//! #[sse_endpoint("/rooms/{room}/answer", end = "stop")]
//! async fn answer(Path(room): Path<u64>) -> impl Stream<Item = AnswerEvent> {
//!     yield_!(AnswerEvent::Token { text: format!("This is room {room}.") });
//!     yield_!(AnswerEvent::Finished);
//! }
//!
//! let api = Api::new("Chat", "1.0.0");
//! let app: Router = Router::new()
//!     .sse(api.of(answer))
//!     .route("/openapi.json", api.json())
//!     .route("/streams", api.explorer("/openapi.json"));
//!
//! assert!(api.typescript().contains(r#"{ event: "token"; data: { text: string }; id?: string }"#));
//! ```
#![doc = include_str!("../../docs/contracts.md")]
#![allow(
    clippy::test_attr_in_doctest,
    reason = "the example shows a test that readers copy; it is compiled, but not run"
)]

mod document;
mod explorer;
mod extend;
mod operation;
mod path;
pub(crate) mod probes;
mod schemas;
mod typescript;

use std::{
    collections::BTreeMap,
    fmt,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Bytes,
    http::header::CONTENT_TYPE,
    routing::{MethodRouter, get},
};
use serde_json::Value;

use self::{
    document::Version,
    operation::Operation,
    schemas::{Named, Schemas},
};
use crate::{
    config::Endpoint,
    endpoint::route::{IntoSseRoute, SseRoute},
};

/// Collects endpoints and describes them.
///
/// Clones share the same endpoints. Methods that generate a description, such as
/// [`document`](Self::document), include the endpoints that have been added so far.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    /// The prefix of the paths of endpoints that are added through this value.
    prefix: String,
}

struct Shared {
    info: Info,
    state: Mutex<State>,
}

/// The title and version of the API.
#[derive(Debug)]
struct Info {
    title: String,
    version: String,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// Whether integers that JavaScript cannot represent become strings.
    has_large_integers: bool,
    /// The document that [`Api::json`] serves, and the number of endpoints that it describes.
    printed: Option<(usize, Bytes)>,
}

/// An endpoint, and the location at which it was added.
struct Entry {
    endpoint: Endpoint,
    name: String,
    prefix: String,
    at: &'static Location<'static>,
}

impl Entry {
    fn path(&self) -> String {
        path::nested(&self.prefix, self.endpoint.path)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, path) = (&self.endpoint.method, self.path());
        write!(f, "`{}` ({method} {path}, added at {})", self.name, self.at)
    }
}

impl Api {
    /// Creates a description without endpoints. The title and the version become the `info` of the
    /// document. The version is that of the API, not that of OpenAPI.
    pub fn new(title: impl Into<String>, version: impl Into<String>) -> Self {
        let info = Info {
            title: title.into(),
            version: version.into(),
        };
        let state = Mutex::default();
        Self {
            shared: Arc::new(Shared { info, state }),
            prefix: String::new(),
        }
    }

    /// Adds an endpoint and returns its route. Like
    /// [`SseRouterExt::sse`](crate::SseRouterExt::sse), this method accepts the endpoint's function
    /// or the route that the function returns.
    ///
    /// The endpoint is named after its function. The name becomes the `operationId` in the document
    /// and the name of the method in the TypeScript client.
    ///
    /// # Panics
    ///
    /// Panics if an endpoint with the same name, or with the same method and path, has already been
    /// added. The message names both endpoints.
    #[track_caller]
    pub fn of<R, H, K>(&self, endpoint: R) -> SseRoute<H>
    where
        R: IntoSseRoute<H, K>,
    {
        let route = endpoint.into_sse_route();
        self.add(route.name(), route)
    }

    /// Adds an endpoint under a name that differs from that of its function. Use this method if two
    /// functions have the same name, or to add an endpoint twice.
    ///
    /// # Panics
    ///
    /// See [`of`](Self::of).
    #[track_caller]
    pub fn named<R, H, K>(&self, name: &str, endpoint: R) -> SseRoute<H>
    where
        R: IntoSseRoute<H, K>,
    {
        self.add(name, endpoint.into_sse_route())
    }

    #[track_caller]
    fn add<H>(&self, name: &str, route: SseRoute<H>) -> SseRoute<H> {
        let new = Entry {
            endpoint: route.endpoint.clone(),
            name: name.to_owned(),
            prefix: self.prefix.clone(),
            at: Location::caller(),
        };
        let mut state = self.state();
        let path = path::Template::parse(&new.path()).to_openapi();
        for entry in &state.entries {
            if entry.name == new.name {
                let message = format!(
                    "two endpoints have the same name: {entry} and {new}; choose another name with `api.named(\"…\", …)`"
                );
                drop(state);
                panic!("{message}");
            }
            let is_same_method = entry.endpoint.method == new.endpoint.method;
            if is_same_method && path::Template::parse(&entry.path()).to_openapi() == path {
                let message = format!(
                    "two endpoints have the same method and path: {entry} and {new}; if one of them is nested, add it with `api.at(\"/prefix\")`"
                );
                drop(state);
                panic!("{message}");
            }
        }
        state.entries.push(new);
        drop(state);
        route
    }

    /// Returns an `Api` that adds endpoints to the same description, with `prefix` in front of
    /// their paths. Use it for routers that are [nested](axum::Router::nest) under this prefix.
    ///
    /// ```
    /// # use axum::Router;
    /// # use sse_runtime::{SseRouterExt, Stream, openapi::Api, sse_endpoint};
    /// # #[sse_endpoint("/prices")]
    /// # async fn prices() -> impl Stream<Item = u8> { yield_!(1) }
    /// let api = Api::new("Prices", "1.0.0");
    /// let v1 = Router::new().sse(api.at("/v1").of(prices));
    /// let app: Router = Router::new().nest("/v1", v1);
    ///
    /// assert!(api.document()["paths"]["/v1/prices"].is_object());
    /// ```
    #[track_caller]
    pub fn at(&self, prefix: &str) -> Self {
        assert!(prefix.starts_with('/'), "a prefix must start with `/`");
        Self {
            shared: Arc::clone(&self.shared),
            prefix: path::nested(&self.prefix, prefix),
        }
    }

    /// Makes the TypeScript client return an integer as a string if a JavaScript number cannot
    /// represent it exactly. Integers of 64 bits or more are declared as `number | string`. Pass
    /// either to `BigInt(…)`.
    ///
    /// Requests are not affected: their integers are numbers.
    ///
    /// By default, these integers are declared as `number`. As with `JSON.parse`, they may be
    /// rounded if their absolute value exceeds 2<sup>53</sup>.
    #[must_use]
    pub fn large_integers_as_strings(self) -> Self {
        self.state().has_large_integers = true;
        self
    }

    /// Returns the OpenAPI 3.2 document. Its `itemSchema` describes the name, the data and the
    /// other fields of each event.
    ///
    /// Source: [OpenAPI 3.2, Special Considerations for Server-Sent
    /// Events](https://spec.openapis.org/oas/v3.2.0.html#special-considerations-for-server-sent-events).
    pub fn document(&self) -> Value {
        self.print(Version::V3_2)
    }

    /// Returns an OpenAPI 3.1 document, for tools that do not support OpenAPI 3.2. The schema of
    /// the response describes only the data of the events.
    pub fn document_3_1(&self) -> Value {
        self.print(Version::V3_1)
    }

    fn print(&self, version: Version) -> Value {
        let (operations, named) = self.describe();
        document::document(&self.shared.info, &operations, named, version)
    }

    /// Merges the OpenAPI 3.2 document of the endpoints into another document, such as one that
    /// utoipa or aide has generated. The other document may use OpenAPI 3.1, but the result uses
    /// OpenAPI 3.2.
    ///
    /// If both documents contain a schema with the same name but different contents, the schema
    /// that belongs to the endpoints is renamed.
    ///
    /// # Panics
    ///
    /// Panics if `document` is not a JSON object, if it uses OpenAPI 3.0 or an earlier version, if it
    /// already describes the method and path of an
    /// endpoint, if it contains an operation whose id is the name of an endpoint, or if the path item
    /// of an endpoint is a reference to something other than `#/components/pathItems/…`.
    #[track_caller]
    pub fn extend(&self, document: Value) -> Value {
        extend::extend(document, self.document())
    }

    /// Returns a `GET` route that responds with the [document](Self::document) as JSON. The
    /// document contains all endpoints that have been added by the time of the request. It is
    /// cached, and generated again only if endpoints have been added since.
    pub fn json<S>(&self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let api = self.clone();
        get(async move || ([(CONTENT_TYPE, "application/json")], api.printed()))
    }

    /// Returns the document as JSON. It is generated again only if endpoints have been added since
    /// the last call.
    fn printed(&self) -> Bytes {
        let state = self.state();
        let count = state.entries.len();
        if let Some((described, document)) = &state.printed
            && *described == count
        {
            return document.clone();
        }
        // Describing the endpoints locks the state. If an endpoint is added meanwhile, the next call
        // generates the document again.
        drop(state);
        let document = Bytes::from(self.document().to_string());
        self.state().printed = Some((count, document.clone()));
        document
    }

    /// Returns a TypeScript module with a client for the endpoints. It has no dependencies.
    pub fn typescript(&self) -> String {
        let (operations, named) = self.describe();
        let has_large_integers = self.state().has_large_integers;
        typescript::module(&self.shared.info, &operations, &named, has_large_integers)
    }

    /// Returns a `GET` route that responds with a page for trying out the endpoints. `document` is
    /// the URL from which the browser loads the document. It can be relative to the URL of the
    /// page.
    ///
    /// The page loads nothing but the document and sends requests only to its own origin.
    pub fn explorer<S>(&self, document: &str) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        explorer::page(document)
    }

    /// Lists all parts of requests and streams that have no schema, usually because a type does not
    /// implement `JsonSchema`. The document allows any JSON value in these places.
    ///
    /// ```
    /// # use sse_runtime::{Stream, openapi::Api, sse_endpoint};
    /// #[derive(serde::Serialize)]
    /// struct Tick;
    ///
    /// #[sse_endpoint("/ticks")]
    /// async fn ticks() -> impl Stream<Item = Tick> {
    ///     yield_!(Tick);
    /// }
    ///
    /// let api = Api::new("Ticks", "1.0.0");
    /// let route = api.of(ticks);
    /// let untyped = api.untyped();
    /// assert!(untyped[0].starts_with("ticks: the item `"));
    /// # drop(route);
    /// ```
    pub fn untyped(&self) -> Vec<String> {
        let mut untyped = Vec::new();
        self.describe_into(&mut untyped);
        untyped.sort();
        untyped.dedup();
        untyped
    }

    fn describe(&self) -> (Vec<Operation>, Named) {
        self.describe_into(&mut Vec::new())
    }

    fn describe_into(&self, untyped: &mut Vec<String>) -> (Vec<Operation>, Named) {
        let mut schemas = Schemas::new();
        let state = self.state();
        let operations = state.entries.iter().map(|entry| {
            let Entry {
                endpoint,
                name,
                prefix,
                ..
            } = entry;
            operation::operation(endpoint, name, prefix, &mut schemas, untyped)
        });
        let mut operations: Vec<Operation> = operations.collect();
        drop(state);
        let mut named = schemas.finish();
        let mut used = Vec::new();
        for operation in &mut operations {
            operation.for_each_schema(|schema| {
                named.update(schema);
                used.extend(schemas::references(schema));
            });
        }
        named.retain(used);
        (operations, named)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let endpoints: BTreeMap<&str, String> = state
            .entries
            .iter()
            .map(|entry| (&*entry.name, entry.path()))
            .collect();
        f.debug_struct("Api")
            .field("info", &self.shared.info)
            .field("prefix", &self.prefix)
            .field("endpoints", &endpoints)
            .finish()
    }
}
