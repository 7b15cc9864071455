//! [`Output`]: collects the log output.

use std::{
    cell::RefCell,
    io,
    sync::{Arc, Mutex, Once},
};

#[derive(Clone, Default)]
pub struct Output(Arc<Mutex<Vec<u8>>>);

thread_local! {
    /// The output of this thread, if it is being collected.
    static COLLECTED: RefCell<Option<Output>> = const { RefCell::new(None) };
}

/// Stops collecting the output of this thread when dropped.
pub struct Collecting;

impl Drop for Collecting {
    fn drop(&mut self) {
        COLLECTED.set(None);
    }
}

impl Output {
    /// Collects the output of this thread until the guard is dropped.
    pub fn collect() -> (Self, Collecting) {
        // All threads share one subscriber. If each thread had its own, an event could remain
        // disabled because a thread without a subscriber was the first to log it.
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_ansi(false);
            subscriber.with_writer(|| Writer).init();
        });
        let output = Self::default();
        COLLECTED.set(Some(output.clone()));
        (output, Collecting)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        COLLECTED.with_borrow(|output| {
            if let Some(output) = output {
                output.0.lock().unwrap().extend(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
