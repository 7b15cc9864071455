//! Describes an error for the log, using the `Display` output of the error and its sources.
//!
//! A description is never sent to the client.

use std::{error::Error, fmt, fmt::Display, fmt::Write as _, marker::PhantomData};

/// The maximum number of sources in a description. The limit prevents an infinite loop if an error
/// returns itself as its own source.
const MOST_SOURCES: usize = 32;

/// A function that describes a `T`. It returns `None` if `T` does not implement `Display`.
pub type Describe<T> = fn(&T) -> Option<String>;

/// Selects, at compile time, the function that describes a `T`.
///
/// Three traits define a method with the same name, and the compiler tries their receivers in a
/// fixed order. If `T` is an error, `(&Describes::<T>::new()).description()` calls the [`ByError`]
/// method, whose receiver matches without adjustment. If `T` implements only `Display`, the
/// compiler borrows the receiver and calls the [`ByDisplay`] method. Otherwise, it dereferences the
/// receiver and calls the [`ByNothing`] method.
pub struct Describes<T>(PhantomData<fn(&T)>);

impl<T> Describes<T> {
    /// Creates the selector for `T`.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Describes<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Describes<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Describes<T> {}

impl<T> fmt::Debug for Describes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Describes").finish_non_exhaustive()
    }
}

/// Describes an error and its sources.
pub trait ByError<T> {
    /// Returns the function that describes a `T`.
    fn description(self) -> Describe<T>;
}

impl<T: Error> ByError<T> for &Describes<T> {
    fn description(self) -> Describe<T> {
        |error| {
            let mut text = error.to_string();
            let sources = std::iter::successors(error.source(), |&cause| cause.source());
            for cause in sources.take(MOST_SOURCES) {
                let written = write!(text, ": {cause}");
                debug_assert!(written.is_ok(), "writing to a `String` cannot fail");
            }
            Some(text)
        }
    }
}

/// Describes a type that implements `Display` but is not an error.
pub trait ByDisplay<T> {
    /// Returns the function that describes a `T`.
    fn description(self) -> Describe<T>;
}

impl<T: Display> ByDisplay<T> for &&Describes<T> {
    fn description(self) -> Describe<T> {
        |value| Some(value.to_string())
    }
}

/// The fallback for every other type. Such types have no description.
pub trait ByNothing<T> {
    /// Returns the function that describes a `T`.
    fn description(self) -> Describe<T>;
}

impl<T> ByNothing<T> for Describes<T> {
    fn description(self) -> Describe<T> {
        |_| None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the database failed")]
    struct Failed(#[source] fmt::Error);

    struct Silent;

    #[test]
    #[allow(clippy::needless_borrow, reason = "expanded code borrows like this")]
    fn description_prefers_error_to_display() {
        let failed = (&Describes::<Failed>::new()).description();
        assert_eq!(
            failed(&Failed(fmt::Error)).unwrap(),
            format!("the database failed: {}", fmt::Error)
        );
        let text = (&Describes::<&str>::new()).description();
        assert_eq!(text(&"plain").unwrap(), "plain");
        let silent = (&Describes::<Silent>::new()).description();
        assert_eq!(silent(&Silent), None);
    }
}
