//! Captures the framework's log output on the current thread.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::Level;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

/// A guard that captures log lines until it is dropped.
pub struct Log {
    lines: Lines,
    _default: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn capture() -> Self {
        Self::with(Lines::default(), FmtSpan::NONE, Level::INFO)
    }

    /// Also captures lines at the `debug` level.
    pub fn capture_debug() -> Self {
        Self::with(Lines::default(), FmtSpan::NONE, Level::DEBUG)
    }

    /// Also captures a line whenever a span closes.
    pub fn capture_spans() -> Self {
        Self::with(Lines::default(), FmtSpan::CLOSE, Level::INFO)
    }

    fn with(lines: Lines, spans: FmtSpan, level: Level) -> Self {
        // If a callsite is first reached while no subscriber is set, tracing caches the callsite as
        // disabled until another thread sets a subscriber. Set a global subscriber first to prevent
        // this caching.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_span_events(spans)
            .with_max_level(level)
            .with_writer(lines.clone())
            .finish();
        Self {
            lines,
            _default: tracing::subscriber::set_default(subscriber),
        }
    }

    pub fn text(&self) -> String {
        let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&lines).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
