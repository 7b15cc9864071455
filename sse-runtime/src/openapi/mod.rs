//! Descriptions of endpoints for clients: OpenAPI documents, a TypeScript client, and a page on which
//! to try streams.
//!
//! The compiler knows the path, the parameters, the events and the errors of every endpoint. [`Api`]
//! collects them.
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
/// A clone describes the same endpoints. The methods that print a description, such as
/// [`document`](Self::document), describe the endpoints that have been added so far.
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
}

/// An endpoint, and where it has been added.
struct Entry {
    endpoint: Endpoint,
    name: String,
    prefix: String,
    at: &'static Location<'static>,
}

impl Entry {
    fn path(&self) -> String {
        format!("{}{}", self.prefix, self.endpoint.path)
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

    /// Adds an endpoint, and returns its route. This method accepts what
    /// [`SseRouterExt::sse`](crate::SseRouterExt::sse) accepts: the endpoint's function, or the
    /// route that it returns.
    ///
    /// The name of the endpoint is that of its function. It becomes the `operationId`, and the name
    /// of the method of the TypeScript client.
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

    /// Adds an endpoint under another name than that of its function. Use this method if two
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

    /// Returns a value that adds endpoints to this description, and puts `prefix` before their
    /// paths. Use it for routers that are [nested](axum::Router::nest) under this prefix.
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
    pub fn at(&self, prefix: &str) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            prefix: format!("{}{}", self.prefix, prefix.trim_end_matches('/')),
        }
    }

    /// Makes the TypeScript client pass integers that a JavaScript number cannot represent exactly
    /// to the caller as strings, and declares 64-bit integers as `number | string`. `BigInt`
    /// accepts both.
    ///
    /// By default, 64-bit integers are declared as `number`, and those whose absolute value is
    /// 2<sup>53</sup> or more are rounded, as by `JSON.parse`.
    #[must_use]
    pub fn large_integers_as_strings(self) -> Self {
        self.state().has_large_integers = true;
        self
    }

    /// Returns the OpenAPI 3.2 document. It describes each event with `itemSchema`.
    ///
    /// Source: [OpenAPI 3.2, Special Considerations for Server-Sent
    /// Events](https://spec.openapis.org/oas/v3.2.0.html#special-considerations-for-server-sent-events).
    pub fn document(&self) -> Value {
        self.print(Version::V3_2)
    }

    /// Returns an OpenAPI 3.1 document for tools that do not support OpenAPI 3.2. It describes only
    /// the data of the events, as the schema of the response.
    pub fn document_3_1(&self) -> Value {
        self.print(Version::V3_1)
    }

    fn print(&self, version: Version) -> Value {
        let (operations, named) = self.describe();
        document::document(&self.shared.info, &operations, named, version)
    }

    /// Merges the OpenAPI 3.2 document of the endpoints into another document, such as one that
    /// utoipa or aide has generated. The other document may be an OpenAPI 3.1 document.
    ///
    /// If both documents have a schema with the same name but different contents, the schema of the
    /// endpoints is renamed.
    ///
    /// # Panics
    ///
    /// Panics if `document` is not a JSON object, or if it already describes an endpoint's method
    /// and path.
    #[track_caller]
    pub fn extend(&self, document: Value) -> Value {
        extend::extend(document, self.document())
    }

    /// Returns a handler that responds with the [document](Self::document) as JSON. The document
    /// contains all endpoints that have been added at the time of the request.
    pub fn json<S>(&self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let api = self.clone();
        get(async move || {
            let document = api.document().to_string();
            ([(CONTENT_TYPE, "application/json")], document)
        })
    }

    /// Returns a TypeScript module with a client for the endpoints. It has no dependencies.
    pub fn typescript(&self) -> String {
        let (operations, named) = self.describe();
        let has_large_integers = self.state().has_large_integers;
        typescript::module(&self.shared.info, &operations, &named, has_large_integers)
    }

    /// Returns a handler that responds with a page on which to try the endpoints. `document` is the
    /// URL of the document, as the browser sees it. It can be relative to the URL of the page.
    ///
    /// The page loads nothing but the document, and sends requests only to its own origin.
    pub fn explorer<S>(&self, document: &str) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        explorer::page(document)
    }

    /// Returns a description of everything on the wire that has no schema, usually because a type
    /// does not implement `JsonSchema`. The document allows any JSON in these places.
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
        let named = schemas.finish();
        for operation in &mut operations {
            operation.update(&named);
        }
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
