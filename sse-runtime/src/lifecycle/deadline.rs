//! [`IntoDeadline`]: a point in time on the system clock or the monotonic clock.

use std::time::SystemTime;

use tokio::time::Instant;

use sealed::Sealed;

/// A point in time: a [`SystemTime`], or an [`Instant`](std::time::Instant) from std or tokio.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a point in time",
    note = "use a `SystemTime` or an `Instant`; for a duration, write `SystemTime::now() + duration`"
)]
pub trait IntoDeadline: Sealed {
    /// Returns `None` if the time is too far in the future for a timer.
    #[doc(hidden)]
    fn instant(self) -> Option<Instant>;
}

mod sealed {
    pub trait Sealed {}
}

impl Sealed for SystemTime {}
impl Sealed for Instant {}
impl Sealed for std::time::Instant {}

impl IntoDeadline for SystemTime {
    fn instant(self) -> Option<Instant> {
        // A time in the past is treated as now.
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
