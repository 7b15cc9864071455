//! Runs: producers that each publish to one of a hub's topics and outlive their clients.

use std::{
    future::{Future, pending},
    mem,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle, time::sleep};

use super::{Hub, MAX_NAME_LEN, error::HubError, state::Slot};
use crate::{
    generator::run_failure::Failure,
    topic::{
        Cursor, Subscription, Topic,
        backend::Backend as _,
        ring::Ring,
        run_result::{RunError, RunResult},
    },
};

/// Determines whether a run that has ended is replayed or restarted for a client without an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Replay,
    Restart,
}

#[derive(Default)]
pub(super) enum Run {
    #[default]
    None,
    /// A call to `spawn` is about to start the run.
    Starting,
    /// The run was aborted before it started.
    Stopped,
    /// The run has started. The topic's slot keeps this value after the run ends so that the run is
    /// not started again until the topic is dropped.
    Started(AbortHandle),
}

impl<T: Send + Sync + 'static> Hub<T> {
    pub(super) fn run<F, Fut, Kind>(
        &self,
        name: &str,
        cursor: Cursor,
        again: Again,
        producer: F,
    ) -> Result<Subscription<T>, HubError>
    where
        F: FnOnce(Topic<T>) -> Fut,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
    {
        let runtime = Handle::current();
        let cursor = cursor.for_run();
        if cursor.has_id() {
            return self.resume(name, cursor);
        }
        let mut state = self.state_with_room(&[name])?;
        let mut topic = self.lease(&mut state, name);
        // Drop the replaced topic after releasing the lock, because the destructors of its values
        // may use the hub.
        let mut replaced = None;
        if again == Again::Restart && topic.is_finished() {
            let old = state.topics.remove(name);
            let new = self.lease(&mut state, name);
            replaced = Some((old, mem::replace(&mut topic, new)));
        }
        let slot = self.slot(&mut state, name);
        // A run finishes its topic when it ends, so treat a finished topic as a run that has ended,
        // and replay it.
        if !matches!(slot.run, Run::None) || topic.is_finished() {
            drop(state);
            return Ok(topic.subscribe(cursor));
        }
        slot.run = Run::Starting;
        let usage = Arc::clone(&slot.usage);
        // `producer` is user code and may use the hub, so release the lock before calling it.
        drop(state);
        drop(replaced);
        let subscription = topic.subscribe(cursor);
        let end = EndOnDrop {
            topic: topic.clone(),
            name: name.to_owned(),
            is_stopped: true,
        };
        let abandon_after = self.0.limits.abandon_after;
        let run = producer(topic);
        let run = async move { run.await.outcome() };
        let run = runtime.spawn(run_to_end(end, run, abandon_after));
        // The run may already have ended by now, and the topic's slot may have been dropped or
        // replaced.
        if let Some(slot) = self.0.state().topics.get_mut(name)
            && Arc::ptr_eq(&slot.usage, &usage)
        {
            if let Run::Stopped = slot.run {
                run.abort();
            }
            slot.run = Run::Started(run.abort_handle());
        }
        Ok(subscription)
    }

    /// Subscribes to an existing run without starting one. Used for clients that send an id,
    /// because they have already read from a run.
    fn resume(&self, name: &str, cursor: Cursor) -> Result<Subscription<T>, HubError> {
        if name.len() > MAX_NAME_LEN {
            return Err(HubError::NameTooLong);
        }
        let mut state = self.0.state();
        // A topic with this name may exist even without a run, because other code may have created
        // it to publish or subscribe to it.
        let has_run = |slot: &Slot<T>| !matches!(slot.run, Run::None) || slot.topic.is_finished();
        let topic = state
            .topics
            .get(name)
            .is_some_and(has_run)
            .then(|| self.lease(&mut state, name));
        drop(state);
        Ok(match topic {
            Some(topic) => topic.subscribe(cursor),
            None => {
                let gone = Arc::new(Ring::gone());
                Subscription::new(gone.subscribe(cursor.from), cursor.is_resumed)
            }
        })
    }
}

/// A run's task. Dropping `end` finishes the topic, even if the run panics or is aborted.
async fn run_to_end<T: Send + Sync + 'static>(
    mut end: EndOnDrop<T>,
    run: impl Future<Output = Result<(), RunError>>,
    abandon_after: Option<Duration>,
) {
    let outcome = tokio::select! {
        outcome = run => outcome,
        () = abandoned(&end.topic, abandon_after) => Err(RunError::abandoned()),
    };
    end.is_stopped = false;
    if let Err(RunError { failure, log }) = outcome {
        tracing::error!(name = end.name, error = log, "a run ended with an error");
        end.topic.fail(failure);
    }
}

/// Completes once a run has had no readers for `after`.
async fn abandoned<T>(topic: &Topic<T>, after: Option<Duration>) {
    let Some(after) = after else {
        return pending().await;
    };
    loop {
        let left = match topic.backend.unread_since() {
            None => after,
            Some(since) => after.saturating_sub(since.elapsed()),
        };
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

/// A guard owned by a run's task. Finishes the run's topic when the task ends or is dropped, unless
/// the topic has already failed.
struct EndOnDrop<T: Send + Sync + 'static> {
    topic: Topic<T>,
    name: String,
    /// `true` until the run returns. If this is still `true` when the guard is dropped, the run was
    /// aborted or panicked.
    is_stopped: bool,
}

impl<T: Send + Sync + 'static> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(name = self.name, "a run panicked");
            self.topic.fail(Failure::panicked());
        } else if self.is_stopped {
            self.topic.fail(Failure::stopped());
        } else {
            self.topic.finish();
        }
    }
}
