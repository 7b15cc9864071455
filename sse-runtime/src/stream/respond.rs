//! [`respond`]: turns a generator into a response.

use std::{
    any::Any,
    future::{Future as _, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::task::coop;

use crate::{
    event::last_event_id::SentDone,
    generator::{
        generator::{Ending, Generator},
        outgoing::Returning,
    },
    lifecycle::close_reason::CloseReason,
    stream::{
        body::SseBody, drain::BodyDrain, mounted::MountedEndpoint, request_context::RequestContext,
        response,
    },
};

/// Runs the statements before the response. The rest of the generator becomes the response body.
///
/// # Cancel safety
///
/// Dropping the future drops the generator: if the client disconnects before the response, the
/// generator ends where it is waiting.
pub(crate) async fn respond(
    generator: Generator,
    mut context: RequestContext,
    mut drain: BodyDrain,
    mounted: &Arc<MountedEndpoint>,
) -> Response {
    // Dropped before the guard in `context`, because the guard runs the close hooks.
    let mut this = generator;
    this.handoff
        .open(&mounted.endpoint, context.last_id.clone());
    // A client that sends the id of a finished stream receives a `204`, unless the id belongs to a
    // topic that has since been replaced. Only the topic can determine this, so the head waits
    // until the generator reads the topic.
    let is_asked = context.done.as_ref().map(SentDone::is_asked_for);
    let waits_for_topic = is_asked == Some(true) && !context.is_head;
    if waits_for_topic {
        this.handoff.open_for_done();
    }
    let before = if is_asked == Some(false) {
        Before::Done
    } else if this.prelude || waits_for_topic {
        let connection = context.guard.connection().clone();
        let mut until_end = pin!(connection.until_end(mounted.endpoint.when_shut_down()));
        let mut passed_mark = false;
        let mut turns = TURNS_BEFORE_HEAD;
        poll_fn(|cx| {
            if drain.poll_drain(cx).is_err() {
                return Poll::Ready(Before::ClientGone);
            }
            let mut polled;
            loop {
                let entered = (context.guard.span().enter(), this.handoff.enter());
                polled = catch_unwind(AssertUnwindSafe(|| this.coroutine.poll(&connection, cx)));
                drop(entered);
                match this.handoff.returning() {
                    Returning::Stops => return Poll::Ready(Before::Done),
                    Returning::Reads => break,
                    // The generator does not read a topic from this id, so the id is the handler's
                    // own.
                    Returning::Unknown if this.handoff.is_written_to() => {
                        return Poll::Ready(Before::Done);
                    }
                    // The generator has reached the point where the response begins. It stops there
                    // once.
                    Returning::Unknown
                        if !passed_mark
                            && matches!(polled, Ok(Poll::Pending))
                            && this.handoff.has_begun() =>
                    {
                        passed_mark = true;
                    }
                    Returning::Unknown => break,
                }
            }
            match polled {
                Err(panic) => Poll::Ready(Before::Panicked(panic)),
                Ok(Poll::Ready(ending)) => Poll::Ready(Before::Ended(ending)),
                Ok(Poll::Pending) if waits_for_topic => match this.handoff.returning() {
                    Returning::Reads => Poll::Ready(Before::Begun),
                    Returning::Unknown if this.prelude && !this.handoff.has_begun() => {
                        until_end.as_mut().poll(cx).map(Before::Closed)
                    }
                    // A failed run is reported even to a client that has already received the end
                    // of the stream.
                    Returning::Unknown if this.handoff.has_failure() => Poll::Ready(Before::Begun),
                    // The generator is waiting, but not for a topic that could judge the id.
                    Returning::Unknown if coop::has_budget_remaining() || turns == 0 => {
                        Poll::Ready(Before::Done)
                    }
                    // The generator is only waiting for its next turn.
                    Returning::Unknown => {
                        turns -= 1;
                        cx.waker().wake_by_ref();
                        until_end.as_mut().poll(cx).map(Before::Closed)
                    }
                    Returning::Stops => until_end.as_mut().poll(cx).map(Before::Closed),
                },
                Ok(Poll::Pending) if this.handoff.has_begun() => Poll::Ready(Before::Begun),
                Ok(Poll::Pending) => until_end.as_mut().poll(cx).map(Before::Closed),
            }
        })
        .await
    } else {
        Before::Begun
    };
    if waits_for_topic
        && let Before::Begun = before
        && this.handoff.returning() == Returning::Reads
    {
        tracing::debug!(
            endpoint = mounted.endpoint.name,
            id = context.sent_done(),
            "the client has received the end of an earlier stream, so it gets a gap"
        );
    }
    let (reason, response) = match before {
        Before::Ended(Ending::Rejected(response)) => (CloseReason::Rejected, response),
        // The generator has not yielded, and there was no gap or failure, so the response has no
        // content.
        Before::Ended(Ending::Finished) if !this.handoff.has_content() => {
            let nothing = StatusCode::NO_CONTENT.into_response();
            (CloseReason::Finished, nothing)
        }
        Before::Done => {
            tracing::debug!(
                endpoint = mounted.endpoint.name,
                id = context.sent_done(),
                "the client has received the end of the stream, so it gets a 204"
            );
            let nothing = StatusCode::NO_CONTENT.into_response();
            (CloseReason::Finished, nothing)
        }
        Before::Ended(Ending::TaskPanicked) if !this.handoff.has_content() => {
            let failed = StatusCode::INTERNAL_SERVER_ERROR.into_response();
            (CloseReason::Panicked, failed)
        }
        // The client has probably disconnected and won't read this. axum's own extractors respond
        // with the same status.
        Before::ClientGone => {
            let refused = StatusCode::BAD_REQUEST.into_response();
            (CloseReason::ClientGone, refused)
        }
        Before::Closed(why) => (why, refusal(why).into_response()),
        Before::Panicked(panic) => {
            drop(this);
            context.guard.end(CloseReason::Panicked);
            // The connection is aborted, as in axum.
            resume_unwind(panic)
        }
        Before::Begun => {
            let is_head = context.is_head;
            let (head, version) = (response::head(&context), context.version);
            let mut body = SseBody::new(this, None, context, drain, mounted);
            // Once a client has read the head, it can rely on the generator's initial
            // subscriptions.
            let mut turns = if is_head { 0 } else { TURNS_BEFORE_HEAD };
            poll_fn(|cx| {
                if turns == 0 || body.start(cx) {
                    return Poll::Ready(());
                }
                turns -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            return response::stream(version, head, body);
        }
        Before::Ended(ending) => {
            let (head, version) = (response::head(&context), context.version);
            let body = SseBody::new(this, Some(ending), context, drain, mounted);
            return response::stream(version, head, body);
        }
    };
    drop(this);
    context.guard.end(reason);
    response
}

/// Maximum number of task polls before the head is sent without waiting for the generator. This
/// limit is needed because awaiting futures that are already ready uses up the task's budget, but
/// never counts as waiting.
const TURNS_BEFORE_HEAD: u32 = 64;

/// The outcome of the statements before the response.
enum Before {
    /// The response begins.
    Begun,
    Ended(Ending),
    /// The client has received the end of the stream.
    Done,
    /// The stream was closed from outside.
    Closed(CloseReason),
    ClientGone,
    Panicked(Box<dyn Any + Send>),
}

/// Returns the response status for a stream that is closed before it has begun.
fn refusal(why: CloseReason) -> StatusCode {
    match why {
        CloseReason::Expired => StatusCode::UNAUTHORIZED,
        CloseReason::Revoked => StatusCode::FORBIDDEN,
        CloseReason::Superseded => StatusCode::CONFLICT,
        CloseReason::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
