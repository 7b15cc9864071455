//! [`ShutdownTimes`]: how long each step of a server's shutdown may take.

use std::time::Duration;

use crate::{
    lifecycle::shutdown::{DRAIN, HOOKS, LAST, LONGEST},
    server::server::Server,
};

/// How long a server keeps accepting connections after SIGTERM. Load balancers keep sending
/// requests until they notice the shutdown.
const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// How long aborted connections may take to drop their resources. Only a task that blocks its
/// thread needs this long.
const ABORT: Duration = Duration::from_millis(500);

/// The time limits of the steps of a shutdown, in the order of the steps. Every step except the
/// drain delay ends early if nothing is left to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShutdownTimes {
    pub(crate) drain_delay: Duration,
    pub(crate) drain: Duration,
    /// How long connections may stay open after the drain time. See [`LAST`].
    pub(crate) last: Duration,
    pub(crate) abort: Duration,
    /// How long the close hooks of the last streams may run.
    pub(crate) hooks: Duration,
}

impl Default for ShutdownTimes {
    fn default() -> Self {
        Self {
            drain_delay: DRAIN_DELAY,
            drain: DRAIN,
            last: LAST,
            abort: ABORT,
            hooks: HOOKS,
        }
    }
}

impl ShutdownTimes {
    /// Divides `total` among the steps, so that the limits add up to it. For 30 seconds, the result
    /// is the default.
    ///
    /// The drain delay gets a fifth of the time that it shares with the drain. The other steps
    /// handle only the exceptions, such as clients that do not read, so a short total leaves them
    /// less than they have by default.
    fn within(total: Duration) -> Self {
        let hooks = HOOKS.min(total * 2 / 5);
        let left = total - hooks;
        let last = LAST.min(left / 5);
        let abort = ABORT.min(left / 10);
        let left = left - last - abort;
        let drain_delay = DRAIN_DELAY.min(left / 5);
        Self {
            drain_delay,
            drain: left - drain_delay,
            last,
            abort,
            hooks,
        }
    }

    /// Returns the time within which the server has shut down after SIGTERM.
    pub(crate) fn total(&self) -> Duration {
        let steps = [self.drain, self.last, self.abort, self.hooks];
        steps
            .into_iter()
            .fold(self.drain_delay, Duration::saturating_add)
    }
}

impl Server {
    /// Sets the total time that the shutdown may take after SIGTERM. The default is 30 seconds, as
    /// in Kubernetes. Pass the time that the platform allows between SIGTERM and SIGKILL, such as
    /// 10 seconds for `docker stop` or Cloud Run.
    ///
    /// The server divides this time into a drain delay, a drain time, and time for connections that
    /// do not close and for close hooks:
    ///
    /// | total | drain delay | drain | open connections | close hooks |
    /// | --- | --- | --- | --- | --- |
    /// | 60 s | 5 s | 50 s | 3 s | 2 s |
    /// | 30 s (the default) | 5 s | 20 s | 3 s | 2 s |
    /// | 10 s | 1.2 s | 4.7 s | 2.1 s | 2 s |
    /// | 5 s | 0.4 s | 1.7 s | 0.9 s | 2 s |
    /// | 2 s | 0.2 s | 0.7 s | 0.4 s | 0.8 s |
    ///
    /// The drain delay always lasts this long, because requests may still arrive even if no stream
    /// is open. The other steps end as soon as their streams, connections and hooks have ended, so
    /// a server without streams stops immediately after the drain delay. Only a task that blocks
    /// its thread can delay the exit of the process beyond the total.
    ///
    /// This method replaces the values from earlier calls to [`drain_delay`](Self::drain_delay) and
    /// [`drain`](Self::drain). To change one of the two, call its method after this one. The total
    /// then changes accordingly. When SIGTERM arrives, the server logs the resulting total.
    ///
    /// ```no_run
    /// # use {axum::Router, sse_runtime::Server, std::time::Duration};
    /// # async fn run(app: Router) -> std::io::Result<()> {
    /// Server::new(app)
    ///     .grace(Duration::from_secs(10))
    ///     .serve("[::]:3000")
    ///     .await
    /// # }
    /// ```
    pub fn grace(mut self, total: Duration) -> Self {
        self.shutdown_times = ShutdownTimes::within(total.min(LONGEST));
        self
    }

    /// Sets how long the server keeps accepting connections after SIGTERM. The default is 5
    /// seconds. The delay always lasts this long, even if no stream is open.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.shutdown_times.drain_delay = delay.min(LONGEST);
        self
    }

    /// Sets how long the streams may take to end once the drain delay is over. The default is 20
    /// seconds. The drain ends early if all streams have ended.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.shutdown_times.drain = drain;
        self
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;

    #[test]
    fn thirty_seconds_are_divided_into_the_defaults() {
        let times = ShutdownTimes::within(Duration::from_secs(30));
        assert_eq!(times, ShutdownTimes::default());
    }

    #[test]
    fn parts_add_up_to_the_total() {
        for millis in [0, 1, 999, 1_000, 3_000, 5_000, 10_000, 29_999, 90_000] {
            let total = Duration::from_millis(millis);
            assert_eq!(ShutdownTimes::within(total).total(), total);
        }
    }

    /// Checks the table in the documentation, which is rounded to tenths of a second.
    #[test]
    fn table_lists_the_parts() {
        for (total, row) in [
            (60, [5.0, 50.0, 3.0, 2.0]),
            (30, [5.0, 20.0, 3.0, 2.0]),
            (10, [1.2, 4.7, 2.1, 2.0]),
            (5, [0.4, 1.7, 0.9, 2.0]),
            (2, [0.2, 0.7, 0.4, 0.8]),
        ] {
            let times = ShutdownTimes::within(Duration::from_secs(total));
            let open = times.last + times.abort;
            let parts = [times.drain_delay, times.drain, open, times.hooks];
            for (part, rounded) in parts.into_iter().zip(row) {
                let difference = (part.as_secs_f64() - rounded).abs();
                assert!(difference <= 0.051, "{total} s: {part:?}, not {rounded} s");
            }
        }
    }

    #[test]
    fn later_calls_override_parts_of_grace() {
        let times = |server: Server| server.shutdown_times;
        let grace = Duration::from_secs(10);
        let expected = ShutdownTimes::within(grace);
        let drain = Duration::from_secs(1);
        let after = times(Server::new(Router::new()).grace(grace).drain(drain));
        assert_eq!(after, ShutdownTimes { drain, ..expected });
        let before = times(Server::new(Router::new()).drain(drain).grace(grace));
        assert_eq!(before, expected);
    }
}
