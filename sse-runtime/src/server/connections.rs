//! [`Connections`]: a server's open connections, each in its own task.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::server::{
    connection_task::ConnectionContext,
    listener::{self, Accepted, FreedDescriptors, Listener},
};

/// A server's open connections. Dropping this value aborts all connections.
#[derive(Debug)]
pub(crate) struct Connections {
    context: Arc<ConnectionContext>,
    open: Arc<Open>,
}

/// The open connections' tasks. The server can wait for these tasks or abort them.
///
/// When a connection ends, its entry is removed without waking the server's task. `main` usually
/// blocks on that task, so waking it on every disconnect would wake the main thread, which is
/// expensive.
#[derive(Debug, Default)]
pub(crate) struct Open {
    tasks: TaskTracker,
    /// The abort handles of the tasks, by connection number. A handle is `None` until its task has
    /// been spawned. A B-tree is used because it frees memory as its entries are removed, whereas a
    /// hash map keeps its capacity.
    abort_handles: Mutex<BTreeMap<u64, Option<AbortHandle>>>,
    descriptors: FreedDescriptors,
}

/// A guard that keeps a connection registered as open until the guard is dropped.
#[derive(Debug)]
pub(crate) struct OpenGuard {
    open: Arc<Open>,
    number: u64,
}

impl Open {
    fn abort_handles(&self) -> MutexGuard<'_, BTreeMap<u64, Option<AbortHandle>>> {
        self.abort_handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spawn<F>(self: &Arc<Self>, number: u64, connection: impl FnOnce(OpenGuard) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.abort_handles().insert(number, None);
        let guard = OpenGuard {
            open: Arc::clone(self),
            number,
        };
        // The lock must not be held here. If the runtime is shutting down, `spawn` immediately
        // drops both the task and the guard inside the task, and the guard's destructor takes the
        // lock.
        let task = self.tasks.spawn(connection(guard));
        // The entry is missing if the task has already ended.
        if let Some(place) = self.abort_handles().get_mut(&number) {
            *place = Some(task.abort_handle());
        }
    }

    fn abort(&self) {
        let abort_handles = mem::take(&mut *self.abort_handles());
        for task in abort_handles.into_values().flatten() {
            task.abort();
        }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        let task = self.open.abort_handles().remove(&self.number);
        drop(task);
        self.open.descriptors.report();
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.open.abort();
    }
}

impl Connections {
    pub(crate) fn new(context: ConnectionContext) -> Self {
        Self {
            context: Arc::new(context),
            open: Arc::default(),
        }
    }

    /// Accepts connections and reloads the TLS certificate until the returned future is dropped.
    pub(crate) async fn accept(&self, listener: &mut Listener) -> Infallible {
        listener.prepare(self.context.timeouts.tcp_user);
        #[cfg(feature = "tls")]
        let tls = self.context.tls.clone();
        let reloading = async {
            #[cfg(feature = "tls")]
            if let Some(tls) = tls {
                tls.reload().await;
            }
            std::future::pending::<Infallible>().await
        };
        let accepting = async {
            for number in 0.. {
                self.open(number, listener.accept(&self.open.descriptors).await);
            }
            std::future::pending().await
        };
        tokio::select! {
            never = accepting => never,
            never = reloading => never,
        }
    }

    /// Waits until all open connections have closed.
    pub(crate) async fn closed(&self) {
        self.open.tasks.close();
        self.open.tasks.wait().await;
    }

    /// Returns the number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.open.tasks.len()
    }

    /// Aborts all open connections. Each connection's task ends at its next `.await`.
    pub(crate) fn abort(&self) {
        self.open.abort();
    }

    fn open(&self, number: u64, accepted: Accepted) {
        let context = Arc::clone(&self.context);
        match accepted {
            Accepted::Tcp(socket, peer) => {
                listener::prepare(&socket, peer, context.timeouts.tcp_user);
                context.spawn(socket, peer, &self.open, number);
            }
            #[cfg(unix)]
            Accepted::Unix(socket, peer) => context.spawn(socket, peer, &self.open, number),
            Accepted::Custom(io, peer) => context.spawn(io, peer, &self.open, number),
        }
    }
}
