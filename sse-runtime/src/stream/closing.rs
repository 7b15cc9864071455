//! [`Closing`]: closes a stream from outside its generator, either at its deadline or on request.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep, sleep_until};

use crate::{
    config::Endpoint,
    lifecycle::{close_reason::CloseReason, connection::Connection, stop_signal::StopSignal},
    poll::poll_unconstrained,
};

/// A stream's deadline, and a signal that can end the stream earlier.
#[derive(Debug)]
pub(super) struct Closing {
    deadline: Option<Pin<Box<Sleep>>>,
    /// The close reason to report if the deadline passes.
    deadline_reason: CloseReason,
    /// The signal to end the stream, or `None` once the signal has been received.
    signal: Option<StopSignal>,
}

impl Closing {
    /// Starts the timer for the endpoint's maximum duration.
    pub(super) fn new(endpoint: &Endpoint, connection: &Connection) -> Self {
        let start = |limit| Box::pin(sleep(spread(limit)));
        Self {
            deadline: endpoint.max_duration.map(start),
            deadline_reason: CloseReason::MaxDuration,
            signal: Some(StopSignal::new(connection.ending())),
        }
    }

    /// Returns the close reason if the stream's deadline has passed or the stream was closed
    /// externally.
    #[inline]
    pub(super) fn poll(
        &mut self,
        endpoint: &Endpoint,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Option<CloseReason> {
        if let Some(signal) = &mut self.signal
            && signal.poll(cx).is_ready()
        {
            self.signal = None;
            self.begin_shutdown(endpoint, connection, cx);
        }
        let is_over =
            |deadline: &mut Pin<Box<Sleep>>| poll_unconstrained(deadline.as_mut(), cx).is_ready();
        let is_over = self.deadline.as_mut().is_some_and(is_over);
        // A close request takes precedence over the deadline. Every close request triggers the
        // signal, so check for a request only once the signal has been received.
        let requested = match self.signal {
            Some(_) => None,
            None => connection.close_requested(),
        };
        requested.or(is_over.then_some(self.deadline_reason))
    }

    /// Called once the stream has received the signal. If it announces a shutdown, moves the
    /// deadline to the time at which the shutdown ends the stream, unless the deadline is already
    /// earlier.
    #[cold]
    fn begin_shutdown(
        &mut self,
        endpoint: &Endpoint,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) {
        let (None, Some(shutdown)) = (connection.close_requested(), connection.shutdown()) else {
            return;
        };
        let end = shutdown.end(endpoint.when_shut_down());
        let is_earlier = |deadline: &Pin<Box<Sleep>>| end < deadline.deadline();
        if self.deadline.as_ref().is_none_or(is_earlier) {
            self.deadline = Some(Box::pin(sleep_until(end)));
            self.deadline_reason = CloseReason::Shutdown;
        }
        // From here on, wait for a close request, because the stream can still be closed before its
        // new deadline.
        let mut signal = StopSignal::new(connection.close_requested_in_shutdown());
        if signal.poll(cx) == Poll::Pending {
            self.signal = Some(signal);
        }
    }
}

/// Shortens the limit by a random amount of up to 20% so that clients that connected at the same
/// time do not all reconnect at the same time.
fn spread(limit: Duration) -> Duration {
    limit.mul_f64(1.0 - 0.2 * fastrand::f64())
}
