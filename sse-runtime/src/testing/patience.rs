//! A test that waits for something that never happens fails, and says what it was waiting for.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::{Instant as Clock, sleep};

/// How long a test waits, of real time. Under a paused clock it is the step in which time is counted.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many steps of a paused clock a test waits: a week, which passes in less than a second.
const STEPS: u32 = 7 * 24 * 60 * 2;

/// Waits for `future`.
///
/// # Panics
///
/// Panics if it is still pending after 30 s of real time, or after a week of tokio's paused clock, which runs ahead whenever
/// every task waits: keep-alives would keep such a test busy for ever.
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
                "gave up waiting for {what}: it was polled {polls} times in {:?} ({:?} by tokio's clock) and is still \
                 pending. What it waits for has to happen before it is awaited, or in another task",
                started.elapsed(),
                clock.elapsed(),
            );
            alarm.as_mut().reset(Clock::now() + PATIENCE);
        }
        Poll::Pending
    })
    .await
}
