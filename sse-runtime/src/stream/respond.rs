//! [`respond`]: turns a generator into a response.

use std::{future::poll_fn, panic::resume_unwind, sync::Arc, task::Poll};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    event::{last_event_id::SentDone, try_later::TryLater},
    generator::{
        generator::{Ending, Generator},
        outgoing::Returning,
    },
    lifecycle::close_reason::CloseReason,
    stream::{
        body::SseBody,
        drain::BodyDrain,
        mounted::MountedEndpoint,
        prelude::{Before, Prelude, TURNS_BEFORE_HEAD},
        request_context::RequestContext,
        response,
    },
};

/// Runs the statements that precede the response, then turns the rest of the generator into the
/// response body.
///
/// # Cancel safety
///
/// Dropping the future drops the generator. Therefore, if the client disconnects before the
/// response begins, the generator is dropped at its current `.await`.
pub(crate) async fn respond(
    generator: Generator,
    mut context: RequestContext,
    mut drain: BodyDrain,
    mounted: &Arc<MountedEndpoint>,
) -> Response {
    // Dropped before the guard in `context`. The guard runs the close hooks, which must not run
    // until the generator has been dropped.
    let mut this = generator;
    this.handoff
        .open(&mounted.endpoint, context.last_id.clone());
    // A client that sends the id of a finished stream receives a `204`, unless the id belongs to a
    // topic that has since been replaced. Only the topic can determine whether it has been
    // replaced, so the head is held back until the generator reads the topic.
    let is_extracted = context.done.as_ref().map(SentDone::is_extracted);
    let waits_for_topic = is_extracted == Some(true) && !context.is_head;
    if waits_for_topic {
        this.handoff.open_for_done();
    }
    let before = if is_extracted == Some(false) {
        Before::Done
    } else if this.prelude || waits_for_topic {
        let prelude = Prelude::new(&mut this, &mut drain, &context.guard, waits_for_topic);
        prelude.run(&mounted.endpoint).await
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
            "the client has already received the end of an earlier stream; sending a gap"
        );
    }
    let has_content = this.handoff.has_content();
    let (reason, mut response) = match before {
        Before::Begun => return begin(this, context, drain, mounted).await,
        Before::Ended(Ending::Rejected(response)) => {
            (CloseReason::Rejected, context.reject(response))
        }
        Before::Ended(ending @ Ending::Failed(_)) => {
            return finish(this, ending, context, drain, mounted);
        }
        Before::Ended(ending) if has_content => {
            return finish(this, ending, context, drain, mounted);
        }
        // The generator has ended without a yield, a gap or a failure, so the response has no
        // content.
        Before::Ended(Ending::Finished) => status(CloseReason::Finished, StatusCode::NO_CONTENT),
        Before::Ended(Ending::TaskPanicked) => {
            status(CloseReason::Panicked, StatusCode::INTERNAL_SERVER_ERROR)
        }
        Before::Done => {
            tracing::debug!(
                endpoint = mounted.endpoint.name,
                id = context.sent_done(),
                "the client has already received the end of the stream; responding with 204"
            );
            status(CloseReason::Finished, StatusCode::NO_CONTENT)
        }
        // The client has probably disconnected and will not read this response. axum's own
        // extractors respond with the same status.
        Before::ClientGone => status(CloseReason::ClientGone, StatusCode::BAD_REQUEST),
        Before::Closed(reason) => (reason, context.reject(refusal(reason))),
        Before::Panicked(panic) => {
            drop(this);
            context.guard.end(CloseReason::Panicked);
            // Resuming the panic aborts the connection, as a panic in an axum handler does.
            resume_unwind(panic)
        }
    };
    drop(this);
    let own = context.guard.connection().take_response_headers();
    response::add_headers(&mut response, own);
    context.guard.end(reason);
    response
}

fn status(reason: CloseReason, status: StatusCode) -> (CloseReason, Response) {
    (reason, status.into_response())
}

/// Responds with what the generator wrote before it ended.
fn finish(
    generator: Generator,
    ending: Ending,
    context: RequestContext,
    drain: BodyDrain,
    mounted: &Arc<MountedEndpoint>,
) -> Response {
    let (head, version) = (response::head(&context), context.version);
    let own = context.guard.connection().take_response_headers();
    let body = SseBody::new(generator, Some(ending), context, drain, mounted);
    response::stream(version, head, own, body)
}

/// Begins the response. Polls the generator until it first waits, then returns the response.
async fn begin(
    generator: Generator,
    context: RequestContext,
    drain: BodyDrain,
    mounted: &Arc<MountedEndpoint>,
) -> Response {
    let (head, version) = (response::head(&context), context.version);
    // Let the generator create its initial subscriptions first, so that they are in place by the
    // time the client reads the head.
    let mut turns = if context.is_head {
        0
    } else {
        TURNS_BEFORE_HEAD
    };
    let mut body = SseBody::new(generator, None, context, drain, mounted);
    poll_fn(|cx| {
        if turns == 0 || body.start(cx) {
            return Poll::Ready(());
        }
        turns -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    let own = body.connection().take_response_headers();
    response::stream(version, head, own, body)
}

/// Returns the response for a stream that was closed before it began.
fn refusal(reason: CloseReason) -> Response {
    let status = match reason {
        CloseReason::Expired => StatusCode::UNAUTHORIZED,
        CloseReason::Revoked => StatusCode::FORBIDDEN,
        CloseReason::Superseded => StatusCode::CONFLICT,
        CloseReason::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        // Such as a shutdown, after which another server answers.
        _ => {
            let later = TryLater::soon(reason.as_str());
            return later.into_response(StatusCode::SERVICE_UNAVAILABLE);
        }
    };
    status.into_response()
}
