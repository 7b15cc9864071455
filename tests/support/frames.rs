//! Validates the frames that tests receive, if the environment variable `VALIDATE_FRAMES` is set.
//!
//! Test files import [`SseRouterExt`] from here. Its `sse` then also describes the endpoint, and
//! validates every response against the description. `cargo xtask test frames` runs tests in this way.

use std::{
    env,
    io::Write as _,
    pin::Pin,
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{Next, from_fn},
    response::Response,
};
use http_body::{Body as _, Frame, SizeHint};
use sse_runtime::{
    openapi::Api,
    route::{InLayer, IntoSseRoute, Itself, Mount, SseRoute},
};

use crate::document::{Document, events};

/// The length of the part of a response that is validated. Some tests read endless streams, and
/// validating a body delays the task of its connection. 32 KiB contain up to 2,000 events, which
/// takes 0.2 s.
const LONGEST: usize = 1 << 15;

/// The length after which no more responses of an endpoint are validated. Some tests read a million
/// events.
const MOST: usize = 1 << 18;

/// The length of the longest chunk that is validated.
const LARGEST_CHUNK: usize = 1 << 20;

const PROBLEM: &str = "application/problem+json";

/// [`sse_runtime::SseRouterExt`], with validation.
pub trait SseRouterExt<S> {
    /// Adds an endpoint to the router.
    #[must_use]
    fn sse<R, H, K, M>(self, endpoint: R) -> Self
    where
        R: IntoSseRoute<H, K>,
        H: 'static,
        SseRoute<H>: Mount<S, M>;
}

impl<S> SseRouterExt<S> for Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    #[track_caller]
    fn sse<R, H, K, M>(self, endpoint: R) -> Self
    where
        R: IntoSseRoute<H, K>,
        H: 'static,
        SseRoute<H>: Mount<S, M>,
    {
        let route = endpoint.into_sse_route();
        if env::var_os("VALIDATE_FRAMES").is_none() {
            return sse_runtime::SseRouterExt::sse(self, route);
        }
        let api = Api::new("Tests", "1.0.0");
        let name = route.name();
        let route = api.of(route);
        let document = Mutex::new(Document::new(api.document()));
        let described = Arc::new(Described {
            name,
            document,
            validated: AtomicUsize::new(0),
        });
        let layer = from_fn(move |request: Request, next: Next| {
            let described = Arc::clone(&described);
            async move { described.validated(next.run(request).await) }
        });
        // The compiler would otherwise consider that the route is a function.
        <Self as sse_runtime::SseRouterExt<S>>::sse::<_, _, Itself, InLayer<M>>(
            self,
            route.layer(layer),
        )
    }
}

/// An endpoint and its document.
struct Described {
    name: &'static str,
    document: Mutex<Document>,
    /// The length of the streams that have been validated.
    validated: AtomicUsize,
}

impl Described {
    /// Validates a response, of which the body is validated when it has been received.
    fn validated(self: Arc<Self>, response: Response) -> Response {
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE);
        let is_of = |media_type: &str| {
            content_type.is_some_and(|content_type| {
                content_type.as_bytes().starts_with(media_type.as_bytes())
            })
        };
        let is_stream = status == StatusCode::OK && is_of("text/event-stream");
        let is_problem = is_of(PROBLEM);
        if status == StatusCode::NO_CONTENT {
            self.check_response(status, "", "");
        }
        if !is_stream && !is_problem {
            return response;
        }
        response.map(|body| {
            Body::new(Recorded {
                body,
                status,
                received: Vec::new(),
                is_complete: false,
                described: self,
            })
        })
    }

    fn check_response(&self, status: StatusCode, media_type: &str, body: &str) {
        if media_type == PROBLEM && !self.has_response(status) {
            // A layer or an extractor has rejected the request.
            return;
        }
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(problem) = document.check_response(self.name, status.as_u16(), media_type, body)
        {
            self.fail(&format!("{status} {body}"), &problem);
        }
    }

    fn has_response(&self, status: StatusCode) -> bool {
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        let responses = &document.operation(self.name)["responses"];
        responses[status.as_str()].is_object()
    }

    fn check_events(&self, stream: &[u8]) {
        if self.validated.fetch_add(stream.len(), Ordering::Relaxed) >= MOST {
            return;
        }
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events(stream) {
            if let Err(problem) = document.check_event(self.name, &event) {
                self.fail(&format!("{event:?}"), &problem);
            }
        }
    }

    /// Ends the process, because a panic in the task of a connection would not fail the test. Does not
    /// use `eprintln!`, which the test harness captures.
    fn fail(&self, what: &str, problem: &str) -> ! {
        let name = self.name;
        let message =
            format!("VALIDATE_FRAMES: the document of `{name}` does not allow {what}: {problem}\n");
        let written = std::io::stderr().write_all(message.as_bytes());
        process::exit(if written.is_ok() { 101 } else { 102 });
    }
}

/// A body that validates what it has sent when it is dropped.
struct Recorded {
    body: Body,
    status: StatusCode,
    received: Vec<u8>,
    /// Whether no more is recorded. A chunk must not be left out of the middle of a stream.
    is_complete: bool,
    described: Arc<Described>,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && !self.is_complete
        {
            self.is_complete = data.len() > LARGEST_CHUNK;
            if !self.is_complete {
                self.received.extend_from_slice(data);
                self.is_complete = self.received.len() >= LONGEST;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.status == StatusCode::OK {
            let end = self.received.windows(2).rposition(|end| end == b"\n\n");
            self.described
                .check_events(&self.received[..end.map_or(0, |end| end + 2)]);
        } else if self.body.is_end_stream() {
            let body = String::from_utf8_lossy(&self.received);
            let media_type = "application/problem+json";
            self.described
                .check_response(self.status, media_type, &body);
        }
    }
}
