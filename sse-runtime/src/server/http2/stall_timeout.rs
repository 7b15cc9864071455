//! [`StallTimeout`]: resets a stream whose client stops reading.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::{
    lifecycle::flow_control::{FlowControl, Progress},
    poll::poll_unconstrained,
};

tokio::task_local! {
    /// Set by a response future to pass its flow control to the stream's task.
    static CURRENT_FLOW: Arc<OnceLock<FlowControl>>;
}

/// Passes a stream's flow control to the current task, which drives the stream.
pub(super) fn attach_flow(flow: &FlowControl) {
    // Stalls are detected only inside a stream's task, so other tasks do not need the flow control.
    let _ = CURRENT_FLOW.try_with(|driven| driven.set(flow.clone()));
}

pin_project! {
    /// Drives one stream, and drops it if the client stops reading for too long. Dropping the
    /// stream resets it.
    pub(super) struct StallTimeout<F> {
        #[pin]
        stream: Option<F>,
        flow: Arc<OnceLock<FlowControl>>,
        send_timeout: Duration,
        // Runs while the stream is blocked, and restarts whenever the stream makes progress.
        #[pin]
        blocked: Option<Sleep>,
        since: Option<Progress>,
    }
}

impl<F> StallTimeout<F> {
    pub(super) fn new(stream: F, send_timeout: Duration) -> Self {
        Self {
            stream: Some(stream),
            flow: Arc::default(),
            send_timeout,
            blocked: None,
            since: None,
        }
    }
}

impl<F: Future<Output = ()>> Future for StallTimeout<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        let polled = CURRENT_FLOW.sync_scope(Arc::clone(this.flow), || stream.poll(cx));
        if polled.is_ready() {
            return Poll::Ready(());
        }
        let Some((flow, progress)) = this
            .flow
            .get()
            .and_then(|flow| Some((flow, flow.blocked_since()?)))
        else {
            this.blocked.set(None);
            return Poll::Pending;
        };
        if this.blocked.is_none() || *this.since != Some(progress) {
            *this.since = Some(progress);
            this.blocked.set(Some(sleep(*this.send_timeout)));
        }
        if let Some(blocked) = this.blocked.as_mut().as_pin_mut() {
            ready!(poll_unconstrained(blocked, cx));
        }
        flow.set_stalled();
        this.stream.set(None);
        Poll::Ready(())
    }
}
