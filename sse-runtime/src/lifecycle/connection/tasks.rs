//! A stream's tasks and close hooks.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::http::HeaderMap;
use pin_project_lite::pin_project;
use tokio::{
    task::{JoinError, JoinHandle},
    time::timeout,
};
use tracing::{Instrument as _, Span};

use super::{Alive, Connection, Inner};
use crate::lifecycle::{close_reason::CloseReason, shutdown::Shutdown};

/// The tasks and hooks that end with a stream, and the headers that its function has set.
#[derive(Default)]
pub(super) struct Attached {
    /// Empty once the head has been sent.
    pub(super) response_headers: HeaderMap,
    tasks: Vec<JoinHandle<()>>,
    /// The number of tasks being polled.
    polling: usize,
    /// Whether any of the tasks has panicked.
    has_panicked: bool,
    /// The stream's waker, stored while the stream waits until none of its tasks is being polled.
    until_polled: Option<Waker>,
    hooks: Vec<Hook>,
}

pub(super) type Hook =
    Box<dyn FnOnce(CloseReason) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// How long a close hook may run.
const HOOK_LIMIT: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) fn start<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(runtime) = &self.0.runtime else {
            panic!("`Connection::spawn` requires that the request was handled on a tokio runtime");
        };
        if self.state().ended.is_some() {
            return;
        }
        // The lock must not be held while the task is spawned. A runtime that is shutting down
        // drops the task immediately, and the task's destructors may call methods on this
        // connection that acquire the lock.
        let task = Watched {
            task,
            connection: Arc::downgrade(&self.0),
        };
        let spawned = runtime.spawn(task.in_current_span());
        let mut state = self.state();
        if state.ended.is_some() {
            drop(state);
            spawned.abort();
            return;
        }
        let tasks = &mut state.attached.get_or_insert_default().tasks;
        let finished: Vec<_> = tasks.extract_if(.., |task| task.is_finished()).collect();
        tasks.push(spawned);
        drop(state);
        for mut task in finished {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(joined) = Pin::new(&mut task).poll(&mut cx) {
                log_panic(self.id(), "a task of a stream", joined);
            }
        }
    }

    pub(super) fn add_hook(&self, hook: Hook) {
        let mut state = self.state();
        match state.ended {
            None => state.attached.get_or_insert_default().hooks.push(hook),
            Some(reason) => {
                drop(state);
                self.finish(reason, Vec::new(), vec![hook], None, Span::current());
            }
        }
    }

    /// Resolves once none of the stream's tasks is being polled, and returns whether any of them
    /// has panicked. When a task panics, its locals, such as the sender of a channel read by the
    /// generator, are dropped before the panic is recorded. Without this wait, the generator could
    /// see the closed channel and finish before the panic was recorded, as if the task had not
    /// panicked.
    pub(crate) fn poll_tasks(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        let Some(attached) = &mut state.attached else {
            return Poll::Ready(false);
        };
        if attached.polling > 0 && !attached.has_panicked {
            attached.until_polled = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(attached.has_panicked)
    }

    fn begin_task_poll(&self) {
        let mut state = self.state();
        // A stream that has ended no longer waits for its tasks.
        if state.ended.is_none() {
            state.attached.get_or_insert_default().polling += 1;
        }
    }

    fn end_task_poll(&self, has_panicked: bool) {
        let mut state = self.state();
        let Some(attached) = &mut state.attached else {
            return;
        };
        attached.polling -= 1;
        attached.has_panicked |= has_panicked;
        let waker = attached.until_polled.take();
        drop(state);
        if has_panicked {
            self.close(CloseReason::Panicked);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the stream's tasks and runs its close hooks.
    pub(crate) fn end(&self, reason: CloseReason, alive: Option<Alive>, span: &Span) {
        let mut state = self.state();
        state.ended = Some(reason);
        let attached = state.attached.take();
        let over = state.over.clone();
        drop(state);
        if let Some(over) = over {
            over.cancel();
        }
        if let Some(attached) = attached {
            let Attached { tasks, hooks, .. } = *attached;
            self.finish(reason, tasks, hooks, alive, span.clone());
        }
    }

    /// Joins the tasks and then runs the hooks, all in a task that the server waits for.
    fn finish(
        &self,
        reason: CloseReason,
        tasks: Vec<JoinHandle<()>>,
        hooks: Vec<Hook>,
        alive: Option<Alive>,
        span: Span,
    ) {
        let id = self.id();
        for task in &tasks {
            task.abort();
        }
        let Some(runtime) = &self.0.runtime else {
            if !hooks.is_empty() {
                tracing::warn!(
                    connection = id,
                    %reason,
                    hooks = hooks.len(),
                    "skipping close hooks because the request was not handled in a tokio runtime"
                );
            }
            return;
        };
        let finish = async move {
            for task in tasks {
                log_panic(id, "a task of a stream", task.await);
            }
            for hook in hooks {
                // Each hook runs in its own task so that a panic in one hook does not affect the
                // others.
                let hook = async move { hook(reason).await };
                let mut running = tokio::spawn(hook.in_current_span());
                match timeout(HOOK_LIMIT, &mut running).await {
                    Ok(joined) => log_panic(id, "a close hook", joined),
                    Err(_) => {
                        running.abort();
                        tracing::warn!(connection = id, %reason, limit = ?HOOK_LIMIT, "a close hook took too long and was aborted");
                    }
                }
            }
            drop(alive);
        };
        let finish = finish.instrument(span);
        match self.shutdown().map(Shutdown::closing) {
            Some(closing) => drop(closing.spawn_on(finish, runtime)),
            None => drop(runtime.spawn(finish)),
        }
    }
}

pin_project! {
    /// A task of a stream. A panic in this task ends the stream.
    struct Watched<F> {
        #[pin]
        task: F,
        // A weak reference, because the connection owns the task and a strong reference would
        // create a cycle.
        connection: Weak<Inner>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let Some(connection) = this.connection.upgrade().map(Connection) else {
            return this.task.poll(cx);
        };
        connection.begin_task_poll();
        let polled = catch_unwind(AssertUnwindSafe(|| this.task.poll(cx)));
        connection.end_task_poll(polled.is_err());
        drop(connection);
        polled.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

fn log_panic(connection: u64, what: &str, joined: Result<(), JoinError>) {
    if let Err(error) = joined
        && error.is_panic()
    {
        tracing::error!(connection, "{what} panicked");
    }
}
