//! Runs: producers that each publish to one of a hub's topics and outlive their clients.

use std::{
    future::{Future, pending},
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, yield_now},
    time::sleep,
};

use super::{Hub, check_name, error::HubError, opened, state::Slot};
use crate::{
    generator::run_failure::Failure,
    topic::{
        Cursor, PublishError, Subscription, Topic,
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
    Started(Started),
}

/// A run that has started.
pub(super) struct Started {
    task: AbortHandle,
    is_aborted: Arc<AtomicBool>,
}

impl Started {
    /// Stops the run. Returns whether it was in progress.
    pub(super) fn abort(&self) -> bool {
        if self.task.is_finished() {
            return false;
        }
        self.is_aborted.store(true, Ordering::Relaxed);
        self.task.abort();
        true
    }
}

impl<T: Send + Sync + 'static> Hub<T> {
    pub(super) async fn run<F, Fut, Kind>(
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
        if let Some(store) = &self.0.store {
            store.check_run()?;
        }
        let cursor = cursor.for_run();
        if cursor.has_id() {
            return Ok(match self.existing_run(name).await? {
                Some(topic) => topic.subscribe(cursor),
                None => {
                    let gone = Arc::new(Ring::gone());
                    Subscription::new(gone.subscribe(cursor.from), cursor.is_resumed)
                }
            });
        }
        let mut topic = {
            let mut state = self.state_with_room(&[name])?;
            self.lease(&mut state, name)?
        };
        opened(&topic, name).await?;
        let mut is_lost = false;
        if self.0.store.is_some() {
            is_lost = self.end_if_lost(&topic, name).await?;
        }
        // Drop the replaced topics after releasing the lock, because the destructors of their values
        // may use the hub.
        let mut replaced = None;
        let stale;
        let usage = {
            let mut state = self.0.state();
            // Another call may have restarted the run in the meantime, and only an in-memory topic is
            // replaced by a restart.
            stale = match self.0.store {
                None => {
                    let current = self.lease(&mut state, name)?;
                    Some(mem::replace(&mut topic, current))
                }
                Some(_) => None,
            };
            if again == Again::Restart && (is_lost || topic.is_finished()) {
                if self.0.store.is_some() {
                    return Err(HubError::StoredRun);
                }
                let old = state.topics.remove(name);
                let new = self.lease(&mut state, name)?;
                replaced = Some((old, mem::replace(&mut topic, new)));
            }
            // The topic is in use, so the slot still exists.
            let slot = self.slot(&mut state, name)?;
            // A run finishes its topic when it ends, so treat a finished topic as a run that has
            // ended, and replay it.
            if !matches!(slot.run, Run::None) || is_lost || topic.is_finished() {
                None
            } else {
                slot.run = Run::Starting;
                Some(Arc::clone(&slot.usage))
            }
        };
        // `producer` is user code and may use the hub, so the lock is released before it is called.
        drop((replaced, stale));
        let subscription = topic.subscribe(cursor);
        let Some(usage) = usage else {
            return Ok(subscription);
        };
        let end = EndOnDrop {
            topic: topic.clone(),
            name: name.to_owned(),
            is_stopped: true,
            failure: None,
            is_aborted: Arc::default(),
            is_stored: self.0.store.is_some(),
        };
        let is_aborted = Arc::clone(&end.is_aborted);
        let abandon_after = self.0.limits.abandon_after;
        let run = producer(topic);
        let run = async move { run.await.outcome() };
        let run = runtime.spawn(run_to_end(end, run, abandon_after));
        // The run may already have ended by now, and the topic's slot may have been dropped or
        // replaced.
        if let Some(slot) = self.0.state().topics.get_mut(name)
            && Arc::ptr_eq(&slot.usage, &usage)
        {
            let started = Started {
                task: run.abort_handle(),
                is_aborted,
            };
            if let Run::Stopped = slot.run {
                started.abort();
            }
            slot.run = Run::Started(started);
        }
        Ok(subscription)
    }

    /// Returns the topic of the run with this name, if the run exists. The run may have ended.
    pub(super) async fn existing_run(&self, name: &str) -> Result<Option<Topic<T>>, HubError> {
        check_name(name, self.0.store.as_ref())?;
        if let Some(store) = &self.0.store {
            store.check_run()?;
            // The engine is not asked for each client that resumes an open run.
            let is_open = self.0.state().topics.contains_key(name);
            if !is_open && !store.contains(name).await? {
                return Ok(None);
            }
            let topic = self.topic(name).await?;
            self.end_if_lost(&topic, name).await?;
            // The engine does not know about a run that has not published anything yet.
            let is_run = self.has_run(name) || !topic.backend.is_new();
            return Ok(is_run.then_some(topic));
        }
        let mut state = self.0.state();
        // A topic with this name may exist even without a run, because other code may have created
        // it to publish or subscribe to it.
        let has_run = |slot: &Slot<T>| !matches!(slot.run, Run::None) || slot.topic.is_finished();
        match state.topics.get(name).is_some_and(has_run) {
            true => Ok(Some(self.lease(&mut state, name)?)),
            false => Ok(None),
        }
    }

    /// Returns whether this process has started the run with this name.
    fn has_run(&self, name: &str) -> bool {
        let state = self.0.state();
        let slot = state.topics.get(name);
        slot.is_some_and(|slot| !matches!(slot.run, Run::None))
    }

    /// Ends the topic of a stored run that an earlier process started but did not end. Returns whether
    /// there was such a run. This process may not have received the end yet.
    async fn end_if_lost(&self, topic: &Topic<T>, name: &str) -> Result<bool, HubError> {
        if topic.is_finished() || topic.backend.is_new() {
            return Ok(false);
        }
        if self.has_run(name) {
            return Ok(false);
        }
        tracing::warn!(
            name,
            "the process that was executing a run has stopped; ending the run"
        );
        topic.fail(Failure::lost()).await.map_err(|error| {
            tracing::warn!(name, %error, "failed to end a lost run");
            HubError::Unavailable
        })?;
        Ok(true)
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
        end.failure = Some(failure);
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

/// A guard owned by a run's task. Ends the run's topic when the task ends or is dropped.
struct EndOnDrop<T: Send + Sync + 'static> {
    topic: Topic<T>,
    name: String,
    /// `true` until the run returns. If this is still `true` when the guard is dropped, the run was
    /// aborted or panicked.
    is_stopped: bool,
    /// The failure with which the run has returned, if any.
    failure: Option<Failure>,
    /// Whether [`Hub::abort`] stopped the run.
    is_aborted: Arc<AtomicBool>,
    is_stored: bool,
}

impl<T: Send + Sync + 'static> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        let failure = if thread::panicking() {
            tracing::error!(name = self.name, "a run panicked");
            Some(Failure::panicked())
        } else if self.is_stopped {
            // A run is also dropped if the runtime shuts down. The topic of a stored run outlives
            // the runtime, so record that the run was lost.
            let is_lost = self.is_stored && !self.is_aborted.load(Ordering::Relaxed);
            Some(match is_lost {
                true => Failure::lost(),
                false => Failure::stopped(),
            })
        } else {
            self.failure.take()
        };
        // The first poll ends an in-memory topic. If an engine stores the topic, spawn a task that
        // waits for the engine.
        let ending = end(self.topic.clone(), self.name.clone(), failure.map(Arc::new));
        let mut ending = Box::pin(ending);
        let mut cx = Context::from_waker(Waker::noop());
        if ending.as_mut().poll(&mut cx).is_pending() {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(ending)),
                Err(_) => tracing::error!(
                    name = self.name,
                    "failed to end the topic of a run, because the runtime has shut down"
                ),
            }
        }
    }
}

/// The delays between attempts to end the topic of a run: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Ends the topic of a run. While the engine that stores the topic is not available, the attempt is
/// repeated. Otherwise, the topic's readers would wait for ever.
async fn end<T: Send + Sync + 'static>(
    topic: Topic<T>,
    name: String,
    failure: Option<Arc<Failure>>,
) {
    let (mut delay, longest) = RETRY;
    loop {
        let ended = match &failure {
            Some(failure) => topic.backend.fail(Arc::clone(failure)).await,
            None => topic.finish().await,
        };
        let Err(error) = ended else { return };
        let is_temporary = matches!(
            error,
            PublishError::Unavailable { .. } | PublishError::Unknown { .. }
        );
        if !is_temporary {
            tracing::error!(name, %error, "failed to end the topic of a run");
            return;
        }
        tracing::warn!(name, %error, "failed to end the topic of a run; trying again");
        // The first poll may take place outside of a runtime, where there is no timer.
        yield_now().await;
        sleep(delay).await;
        delay = longest.min(delay * 2);
    }
}
