//! A body that fails on its first poll.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    routing,
};
use http_body::{Frame, SizeHint};

use support::within;

use super::{Finish, read_http2};

/// A body that fails on its first poll and then, like hyper's own body, reports that it has ended.
#[derive(Default)]
struct FailsAtOnce {
    has_failed: bool,
}

impl HttpBody for FailsAtOnce {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.has_failed = true;
        let error = std::io::Error::other("the upstream reset the connection");
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.has_failed
    }

    fn size_hint(&self) -> SizeHint {
        match self.has_failed {
            true => SizeHint::with_exact(0),
            false => SizeHint::default(),
        }
    }
}

#[tokio::test]
async fn http2_resets_a_body_that_fails_at_once() {
    let app = Router::new().route(
        "/",
        routing::get(async || Body::new(FailsAtOnce::default())),
    );
    let addr = support::serve(app).await;
    let (body, finish) = within("the end of the body", read_http2(addr, "GET", "/", || {})).await;
    assert_eq!((body.as_str(), finish), ("", Finish::Reset));
}
