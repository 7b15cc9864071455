//! [`Backoff`]: the delays between attempts to reach an engine.

use std::time::Duration;

use tokio::time::sleep;

/// The delays between attempts to reach an engine: exponential backoff with jitter. Each delay is
/// twice as long as the previous one, up to a limit. The actual delay is a random 50% to 100% of
/// that, so that processes that failed at the same time do not all try again at the same time.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Creates a sequence of delays from its first and its longest delay.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Starts again with the first delay, because an attempt has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits before the next attempt.
    ///
    /// # Cancel safety
    ///
    /// Once the future has been polled, dropping it does not undo the increase of the next delay.
    pub async fn wait(&mut self) {
        let delay = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = self.longest.min(self.next * 2);
        sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_double_up_to_the_longest_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for delay in [1, 2, 4, 5, 5] {
            assert_waits(&mut backoff, Duration::from_secs(delay)).await;
        }
        backoff.reset();
        assert_waits(&mut backoff, Duration::from_secs(1)).await;
    }

    async fn assert_waits(backoff: &mut Backoff, delay: Duration) {
        let start = Instant::now();
        backoff.wait().await;
        let waited = start.elapsed();
        // The timer rounds up to milliseconds.
        let rounding = Duration::from_millis(1);
        assert!(waited >= delay / 2, "{waited:?}");
        assert!(waited <= delay + rounding, "{waited:?}");
    }
}
