//! [`Selection`]: the tests named on the command line.

use std::sync::atomic::{AtomicBool, Ordering};

/// The tests to run. If no name is given, all tests run.
pub(crate) struct Selection(Vec<Part>);

/// A part of a test's name, in lowercase.
struct Part {
    text: String,
    /// Whether any name contains the text.
    is_known: AtomicBool,
}

impl Selection {
    pub(crate) fn new(parts: impl Iterator<Item = String>) -> Self {
        let parts = parts.map(|part| Part {
            text: part.to_lowercase(),
            is_known: AtomicBool::new(false),
        });
        Self(parts.collect())
    }

    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let mut is_selected = self.is_all();
        for part in &self.0 {
            if name.contains(&part.text) {
                part.is_known.store(true, Ordering::Relaxed);
                is_selected = true;
            }
        }
        is_selected
    }

    /// Returns the parts that no name contains. Complete only once all tests have run.
    pub(crate) fn unknown(&self) -> Vec<&str> {
        let is_unknown = |part: &&Part| !part.is_known.load(Ordering::Relaxed);
        let unknown = self.0.iter().filter(is_unknown);
        unknown.map(|part| &*part.text).collect()
    }
}
