//! [`or_give_up`]: makes a test that waits for something that never happens fail with a message.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::{Instant as Clock, sleep};

/// How long a test waits in real time. With a paused clock, the length of one step.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many steps of a paused clock a test waits: a week, which takes less than a second.
const STEPS: u32 = 7 * 24 * 60 * 2;

/// Awaits `future`, or panics with a message that names `what`.
///
/// # Panics
///
/// Panics if the future is still pending after 30 s of real time, or after a week of tokio's paused
/// clock. That clock jumps ahead whenever all tasks wait, so with keep-alives such a test would
/// otherwise run forever.
pub(super) async fn or_give_up<F: Future>(what: String, future: F) -> F::Output {
    let mut future = pin!(future);
    let (started, clock) = (Instant::now(), Clock::now());
    let mut alarm = pin!(sleep(PATIENCE));
    let (mut polls, mut steps) = (0_u64, 0);
    poll_fn(|cx| {
        polls += 1;
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            steps += 1;
            assert!(
                started.elapsed() < PATIENCE && steps < STEPS,
                "gave up waiting for {what}: it was polled {polls} times in {:?} ({:?} by tokio's clock) and is \
                 still pending. Trigger it before it is awaited, or from another task",
                started.elapsed(),
                clock.elapsed(),
            );
            alarm.as_mut().reset(Clock::now() + PATIENCE);
        }
        Poll::Pending
    })
    .await
}
