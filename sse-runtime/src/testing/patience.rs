//! [`or_give_up`]: fails a test with a message if it waits for something that never happens.

use std::{
    future::{Future, poll_fn},
    panic::Location,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::{Instant as Clock, sleep};

/// The maximum amount of real time that a test waits. With a paused clock, a test waits in steps of
/// this length.
const PATIENCE: Duration = Duration::from_secs(30);

/// The maximum number of steps that a test waits with a paused clock. Together, they amount to a
/// week, which passes in less than a second of real time.
const STEPS: u32 = 7 * 24 * 60 * 2;

/// Awaits `future`. In the panic message, `what` describes the future's output, and `at` is the
/// place in the test.
///
/// # Panics
///
/// Panics if the future is still pending after 30 s of real time, or after a week on tokio's paused
/// clock. Whenever all tasks are waiting, a paused clock jumps ahead to the next timer. Without a
/// limit, a stuck test would run forever, because there is always another keep-alive timer to jump
/// to.
pub(super) async fn or_give_up<F: Future>(
    what: &str,
    at: &'static Location<'static>,
    future: F,
) -> F::Output {
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
                "timed out after {:?} ({:?} on tokio's clock) waiting for {what}: polled {polls} times. Trigger it \
                 before it is awaited, or from another task (at {at})",
                started.elapsed(),
                clock.elapsed(),
            );
            alarm.as_mut().reset(Clock::now() + PATIENCE);
        }
        Poll::Pending
    })
    .await
}
