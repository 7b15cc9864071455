//! [`IntoDeadline`]: when something is over, on whichever clock.

use std::time::SystemTime;

use tokio::time::Instant;

/// A moment on a clock: a [`SystemTime`], or an [`Instant`](std::time::Instant) of std's or tokio's.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a moment",
    note = "it takes a `SystemTime` or an `Instant`: of a duration, `SystemTime::now() + duration`"
)]
pub trait IntoDeadline {
    /// `None`, where it is too far away for a timer.
    #[doc(hidden)]
    fn instant(self) -> Option<Instant>;
}

impl IntoDeadline for SystemTime {
    fn instant(self) -> Option<Instant> {
        // What is over is over now.
        let left = self.duration_since(Self::now()).unwrap_or_default();
        Instant::now().checked_add(left)
    }
}

impl IntoDeadline for Instant {
    fn instant(self) -> Option<Instant> {
        Some(self)
    }
}

impl IntoDeadline for std::time::Instant {
    fn instant(self) -> Option<Instant> {
        Some(Instant::from_std(self))
    }
}
