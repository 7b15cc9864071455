//! [`Settled`]: how a stream ends.
//!
//! The functions in this file write the last frame, log problems, and decide whether the response
//! ends cleanly. The body then sends the frames and drops the generator.

use axum::response::Response;

use crate::{
    config::Endpoint,
    event::{frame, id::EventId, payload::Payload},
    generator::{
        generator::Ending, handoff::Handoff, outgoing::WriteFailure, reading::TopicEnd,
        run_failure::Failure,
    },
    lifecycle::{
        close_reason::CloseReason,
        ending::{LastFrame, StreamEnd},
    },
    stream::{error::StreamError, late_rejection},
};

/// How a stream ends. The stream's last frame has already been written.
pub(super) struct Settled {
    pub(super) reason: CloseReason,
    /// The error that aborts the response, or `None` if the response ends cleanly.
    pub(super) error: Option<Box<StreamError>>,
}

impl Settled {
    fn cleanly(reason: CloseReason) -> Self {
        Self {
            reason,
            error: None,
        }
    }

    pub(super) fn aborted(reason: CloseReason, error: StreamError) -> Self {
        Self {
            reason,
            error: Some(Box::new(error)),
        }
    }
}

/// Settles a stream whose generator has ended.
pub(super) fn generator_ended(ending: Ending, handoff: &Handoff, endpoint: &Endpoint) -> Settled {
    // A stream that failed to send a value isn't considered finished, even if its generator has
    // returned.
    if let Some(failed) = unsent_value(handoff, endpoint) {
        return failed;
    }
    match &ending {
        Ending::TaskPanicked => return task_panicked(handoff, endpoint),
        Ending::Finished => {
            if let Some(failure) = handoff.topic_failure() {
                return run_failed(&failure, handoff, endpoint);
            }
        }
        Ending::Failed(_) | Ending::Rejected(_) => {}
    }
    let topics = handoff.topic_end();
    let reason = match ending {
        Ending::Finished if topics == Some(TopicEnd::Lagged) => CloseReason::Lagged,
        Ending::Finished => CloseReason::Finished,
        Ending::TaskPanicked => CloseReason::Panicked,
        Ending::Failed(write_error) => {
            write_error(handoff, endpoint);
            CloseReason::Failed
        }
        Ending::Rejected(response) if endpoint.head_after.is_some() => {
            return rejected_late(response, handoff, endpoint);
        }
        Ending::Rejected(response) => {
            tracing::error!(
                endpoint = endpoint.name,
                path = endpoint.path,
                status = response.status().as_u16(),
                "the generator returned an error response after the response had begun; aborting the response"
            );
            let error = StreamError::RejectedTooLate {
                endpoint: endpoint.name,
            };
            return Settled::aborted(CloseReason::Failed, error);
        }
    };
    let settled = closed(reason, topics == Some(TopicEnd::Over), handoff, endpoint);
    unsent_value(handoff, endpoint).unwrap_or(settled)
}

/// Ends a stream whose function has returned an error response after `head_after` had elapsed.
fn rejected_late(response: Response, handoff: &Handoff, endpoint: &Endpoint) -> Settled {
    let Endpoint { name, path, .. } = *endpoint;
    tracing::warn!(
        endpoint = name,
        path,
        status = response.status().as_u16(),
        "the generator returned an error response after `head_after` had elapsed"
    );
    if endpoint.sends_framework_events() {
        let event = late_rejection::event(response, endpoint);
        handoff.write_error(|outgoing| {
            let last = outgoing.ids.last.clone();
            let id = event.encode(last.as_ref(), &mut outgoing.frames.buffer, Payload::encode)?;
            outgoing.wrote(id);
            Ok(())
        });
        return Settled::cleanly(CloseReason::Failed);
    }
    // Clients of this endpoint do not know the framework's events.
    Settled::aborted(
        CloseReason::Failed,
        StreamError::RejectedTooLate { endpoint: name },
    )
}

/// Settles a stream that ends with `reason` and writes its last frame, if any. For `is_over`, see
/// [`StreamEnd::of`].
pub(super) fn closed(
    reason: CloseReason,
    is_over: bool,
    handoff: &Handoff,
    endpoint: &Endpoint,
) -> Settled {
    let end = StreamEnd::of(reason, endpoint, is_over);
    if let Some(frame) = end.last_frame {
        handoff.write_last(|outgoing| match frame {
            LastFrame::Done => {
                // The generator may already have sent this frame.
                let done = EventId::done(outgoing.ids.last.as_ref());
                if outgoing.ids.last.as_ref() != Some(&done) {
                    frame::done_frame(&mut outgoing.frames.buffer, &done);
                }
            }
            LastFrame::Retry(retry) => frame::retry_line(&mut outgoing.frames.buffer, retry),
            LastFrame::Close => {
                frame::close_frame(&mut outgoing.frames.buffer, reason.as_str(), None);
            }
            LastFrame::CloseForGood => {
                let done = EventId::done(outgoing.ids.last.as_ref());
                frame::close_frame(&mut outgoing.frames.buffer, reason.as_str(), Some(&done));
            }
        });
    }
    if !end.is_aborted {
        return Settled::cleanly(reason);
    }
    tracing::warn!(
        endpoint = endpoint.name,
        path = endpoint.path,
        %reason,
        "the stream was cut off before its generator finished; aborting the response"
    );
    let error = StreamError::Cut {
        endpoint: endpoint.name,
        reason,
    };
    Settled::aborted(reason, error)
}

/// Writes the event that reports a failed run or a panicked task. Returns whether an event was
/// written.
fn write_failure_event(failure: &Failure, handoff: &Handoff, endpoint: &Endpoint) -> bool {
    let mut is_written = false;
    // `write_error` is used instead of `write_last`, because the error's `Serialize` implementation
    // is user code, which may panic or read a topic while the frame is being written.
    handoff.write_error(|outgoing| {
        is_written = failure.write_to(outgoing, endpoint);
        Ok(())
    });
    is_written
}

/// Ends a stream whose run failed or was stopped. If no event reports the failure, the response is
/// aborted so that the client does not mistake a partial response for a complete one.
fn run_failed(failure: &Failure, handoff: &Handoff, endpoint: &Endpoint) -> Settled {
    if failure.reason == CloseReason::ProducerLost {
        return closed(CloseReason::ProducerLost, false, handoff, endpoint);
    }
    if !failure.is_stop && write_failure_event(failure, handoff, endpoint) {
        return Settled::cleanly(failure.reason);
    }
    let Endpoint { name, path, .. } = *endpoint;
    tracing::warn!(
        endpoint = name,
        path,
        reason = %failure.reason,
        is_stop = failure.is_stop,
        "the run did not finish and the client cannot be notified; aborting the response"
    );
    let error = match failure.is_stop {
        true => StreamError::RunStopped { endpoint: name },
        false => StreamError::RunFailed { endpoint: name },
    };
    Settled::aborted(failure.reason, error)
}

/// Ends a stream whose task has panicked, just as if its generator had panicked.
pub(super) fn task_panicked(handoff: &Handoff, endpoint: &Endpoint) -> Settled {
    tracing::error!(
        endpoint = endpoint.name,
        path = endpoint.path,
        "a task of the stream panicked; aborting the response"
    );
    write_failure_event(&Failure::panicked(), handoff, endpoint);
    let error = StreamError::Panicked {
        endpoint: endpoint.name,
    };
    Settled::aborted(CloseReason::Panicked, error)
}

/// Settles the stream if it failed to send a value. Otherwise, returns `None`.
fn unsent_value(handoff: &Handoff, endpoint: &Endpoint) -> Option<Settled> {
    let failure = handoff.take_failure()?;
    Some(write_failed(failure, handoff, endpoint))
}

/// Settles a stream that failed to write a value, a `gap` event, or the end of a run.
pub(super) fn write_failed(
    failure: WriteFailure,
    handoff: &Handoff,
    endpoint: &Endpoint,
) -> Settled {
    let Endpoint { name, path, .. } = *endpoint;
    let reason = failure.reason();
    let error = match failure {
        WriteFailure::Encode(source) => {
            tracing::error!(
                endpoint = name,
                path,
                error = %source,
                "failed to encode a yielded value; aborting the response"
            );
            StreamError::Encode {
                endpoint: name,
                source,
            }
        }
        WriteFailure::Gap(source) => {
            tracing::warn!(
                endpoint = name,
                path,
                gap = %source,
                "a client missed events of a topic and the endpoint sends no `gap` events; aborting the response. \
                 Handle gaps with `recv`, or set `events = \"all\"`"
            );
            StreamError::Gap {
                endpoint: name,
                source,
            }
        }
        WriteFailure::Upstream(error) => {
            let source = error.0;
            tracing::warn!(
                endpoint = name,
                path,
                error = &*source as &(dyn std::error::Error + 'static),
                "the upstream that the stream relays has failed; aborting the response"
            );
            StreamError::Upstream {
                endpoint: name,
                source,
            }
        }
        WriteFailure::Run(failure) => return run_failed(&failure, handoff, endpoint),
    };
    Settled::aborted(reason, error)
}
