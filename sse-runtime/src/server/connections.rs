//! [`Connections`]: the open connections of a server, one task for each.

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

/// The open connections of a server. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Connections {
    context: Arc<ConnectionContext>,
    open: Arc<Open>,
}

/// Those that are open, to be waited for, and to be ended.
///
/// A connection takes itself out when it ends, and wakes nobody: whoever is blocked on the server, as `main` mostly is, is a
/// thread that would go to sleep and wake up for each client that leaves.
#[derive(Debug, Default)]
pub(crate) struct Open {
    tasks: TaskTracker,
    /// By the number of a connection; `None` as long as it is not known how to end it. A tree, which keeps no room for a crowd
    /// that has left.
    aborting: Mutex<BTreeMap<u64, Option<AbortHandle>>>,
    descriptors: FreedDescriptors,
}

/// A connection that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    open: Arc<Open>,
    number: u64,
}

impl Open {
    fn aborting(&self) -> MutexGuard<'_, BTreeMap<u64, Option<AbortHandle>>> {
        self.aborting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spawn<F>(self: &Arc<Self>, number: u64, connection: impl FnOnce(Entered) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.aborting().insert(number, None);
        let entered = Entered {
            open: Arc::clone(self),
            number,
        };
        // Not under the lock: a runtime that shuts down drops the task here.
        let task = self.tasks.spawn(connection(entered));
        // Unless it has ended already.
        if let Some(place) = self.aborting().get_mut(&number) {
            *place = Some(task.abort_handle());
        }
    }

    fn abort(&self) {
        let aborting = mem::take(&mut *self.aborting());
        for task in aborting.into_values().flatten() {
            task.abort();
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let task = self.open.aborting().remove(&self.number);
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

    /// Accepts until it is dropped.
    pub(crate) async fn accept(&self, listener: &Listener) -> Infallible {
        listener.prepare(self.context.timeouts.tcp_user);
        #[cfg(feature = "tls")]
        let tls = self.context.tls.clone();
        let renewed = async {
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
            never = renewed => never,
        }
    }

    /// Waits until none is open, of those that there are.
    pub(crate) async fn closed(&self) {
        self.open.tasks.close();
        self.open.tasks.wait().await;
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.tasks.len()
    }

    /// Ends those that are open, each at its next `.await`.
    pub(crate) fn abort(&self) {
        self.open.abort();
    }

    fn open(&self, number: u64, accepted: Accepted) {
        let context = Arc::clone(&self.context);
        match accepted {
            Accepted::Tcp(socket, peer) => {
                listener::prepare(&socket, peer, context.timeouts.tcp_user);
                context.spawn(socket, Some(peer), &self.open, number);
            }
            #[cfg(unix)]
            Accepted::Unix(socket) => context.spawn(socket, None, &self.open, number),
        }
    }
}
