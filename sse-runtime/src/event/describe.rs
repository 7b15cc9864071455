//! What an error says to the log: its `Display`, and those of its sources, if it has them.
//!
//! Nothing of it goes to the client.

use std::{error::Error, fmt, fmt::Display, fmt::Write as _, marker::PhantomData};

/// An error may name itself as its source.
const MOST_SOURCES: usize = 32;

/// Describes a `T`; `None`, where it does not say anything.
pub type Describe<T> = fn(&T) -> Option<String>;

/// Finds out how a type describes itself, where the type is known.
///
/// The compiler chooses between three methods of one name by how often it has to borrow before one fits, so that
/// `(&Describes::<T>::new()).description()` is [`ByError`]'s, else [`ByDisplay`]'s, else [`ByNothing`]'s.
pub struct Describes<T>(PhantomData<fn(&T)>);

impl<T> Describes<T> {
    /// Asks for `T`.
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

/// An error: with its sources.
pub trait ByError<T> {
    /// How.
    fn description(self) -> Describe<T>;
}

impl<T: Error> ByError<T> for &Describes<T> {
    fn description(self) -> Describe<T> {
        |error| {
            let mut text = error.to_string();
            let sources = std::iter::successors(error.source(), |&cause| cause.source());
            for cause in sources.take(MOST_SOURCES) {
                let written = write!(text, ": {cause}");
                debug_assert!(written.is_ok(), "a `String` grows as it is written to");
            }
            Some(text)
        }
    }
}

/// What is only shown.
pub trait ByDisplay<T> {
    /// How.
    fn description(self) -> Describe<T>;
}

impl<T: Display> ByDisplay<T> for &&Describes<T> {
    fn description(self) -> Describe<T> {
        |value| Some(value.to_string())
    }
}

/// All the rest.
pub trait ByNothing<T> {
    /// How.
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
    #[allow(clippy::needless_borrow, reason = "this is how expanded code asks")]
    fn each_by_what_it_has() {
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
