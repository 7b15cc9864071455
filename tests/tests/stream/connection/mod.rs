//! `Connection`: tasks that end when their stream ends, and hooks that receive the close reason.

mod hooks;
mod runtime;
mod tasks;

use std::{future::pending, sync::Arc};

use axum::extract::State;
use sse_runtime::{CloseReason, Connection, Stream, sse_endpoint};
use support::Generators;
use tokio::sync::{Notify, mpsc};

/// State that the handlers share with the test.
#[derive(Clone)]
struct Told {
    generators: Generators,
    /// Counts the tasks spawned by streams.
    tasks: Generators,
    closed: mpsc::UnboundedSender<(u64, CloseReason, usize)>,
    revoke: Arc<Notify>,
}

impl Told {
    fn new() -> (Self, mpsc::UnboundedReceiver<(u64, CloseReason, usize)>) {
        let (closed, reasons) = mpsc::unbounded_channel();
        let this = Self {
            generators: Generators::new(),
            tasks: Generators::new(),
            closed,
            revoke: Arc::default(),
        };
        (this, reasons)
    }

    /// Spawns a task and adds a hook. The hook reports the close reason and the number of tasks
    /// that are still alive.
    fn watch(&self, connection: &Connection) {
        let running = self.tasks.enter();
        connection.spawn(async move {
            let _running = running;
            pending::<()>().await;
        });
        let (id, told) = (connection.id(), self.clone());
        connection.on_close(move |reason| async move {
            let tasks = told.tasks.count().alive;
            let _ = told.closed.send((id, reason, tasks));
        });
    }
}

#[sse_endpoint("/waits")]
async fn waits(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u64> {
    let _running = told.generators.enter();
    told.watch(&connection);
    yield_!(connection.id());
    pending::<()>().await;
}
