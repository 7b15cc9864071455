//! Runs: producers that each publish to one of a hub's topics and outlive their clients.
//!
//! | the hub's topics are stored | a run has an owner if |
//! | --- | --- |
//! | in memory | the topic's slot contains a run |
//! | by an engine that only this process uses | as above. If the topic has events, but its slot does not contain a run, an earlier process was executing the run, and the run is lost |
//! | by an engine that several processes share | the engine has a [lease](crate::topic::engine::RunLeases) for it. If the lease has expired, the run is lost |

mod claim;
mod elsewhere;
mod readers;
mod spawn;
mod task;

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{runtime::Handle, task::AbortHandle};

use super::{Hub, check_name, error::HubError, opened, state::Slot};
use crate::topic::{
    Cursor, Subscription, Topic, Update, engine::BoxFuture, ring::Ring, run_result::RunError,
    topic::subscribe,
};
use claim::{Decision, Starting};
use task::{EndOnDrop, run_to_end};

/// Determines how to handle a run that has ended or is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// A run that has ended is replayed. A lost run is ended.
    Replay,
    /// Like `Replay`, but a client without an id starts another run if the run has ended.
    Restart,
    /// A run that has ended is replayed. A lost run is continued.
    Resume,
}

/// Starts a run. If a lost run is continued, the second argument contains the events that it has
/// published.
pub(super) type Producer<'a, T> = Box<dyn FnOnce(Topic<T>, Vec<Update<T>>) -> Outcome + Send + 'a>;

/// A run. The future completes with the run's result.
pub(super) type Outcome = BoxFuture<'static, Result<(), RunError>>;

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
    /// The engine has a lease of another process for the run.
    Elsewhere {
        /// Whether this process continues the run if it is lost.
        is_standby: bool,
    },
}

/// A run that has started.
pub(super) struct Started {
    task: AbortHandle,
    is_aborted: Arc<AtomicBool>,
    is_taken_over: Arc<AtomicBool>,
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

    fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Returns whether another process has taken over the run.
    fn is_taken_over(&self) -> bool {
        self.is_taken_over.load(Ordering::Relaxed)
    }
}

impl<T: Send + Sync + 'static> Hub<T> {
    /// Subscribes to a run, and starts it if necessary. Also returns the producer if it was not
    /// used.
    pub(super) async fn run<'p>(
        &self,
        name: &str,
        cursor: Cursor,
        again: Again,
        producer: Producer<'p, T>,
    ) -> Result<(Subscription<T>, Option<Producer<'p, T>>), HubError> {
        let cursor = cursor.for_run();
        let has_id = cursor.has_id();
        let (topic, decision) = if has_id {
            match self.existing_run(name, again).await? {
                Some(existing) => existing,
                None => {
                    let name = self.0.has_named_ids.then_some(name);
                    let gone = subscribe(Arc::new(Ring::gone()), name, cursor);
                    return Ok((gone, Some(producer)));
                }
            }
        } else {
            let topic = {
                let mut state = self.state_with_room(&[name])?;
                self.lease(&mut state, name)?
            };
            opened(&topic, name).await?;
            match self.0.store.is_some() {
                true => {
                    let decision = self.decide(&topic, name, true, again).await?;
                    (topic, decision)
                }
                false => self.decide_in_memory(topic, name, again)?,
            }
        };
        if !has_id && again == Again::Restart && topic.is_finished() && self.0.store.is_some() {
            return Err(HubError::StoredRun);
        }
        let subscription = topic.subscribe(cursor);
        let Decision::Start(starting) = decision else {
            return Ok((subscription, Some(producer)));
        };
        let Some(so_far) = self.so_far(&topic, name, &starting).await? else {
            return Ok((subscription, Some(producer)));
        };
        self.start(name, starting, again == Again::Resume, so_far, producer);
        Ok((subscription, None))
    }

    /// Continues a run that another process was executing. Returns the producer if the events of the
    /// run cannot be read at present. The claim is then withdrawn.
    async fn continue_here(
        &self,
        name: &str,
        starting: Starting,
        producer: Producer<'static, T>,
    ) -> Option<Producer<'static, T>> {
        let topic = {
            let mut state = self.0.state();
            let slot = state.topics.get(name);
            match slot.is_some_and(|slot| starting.is_of(&slot.usage)) {
                true => self.lease(&mut state, name),
                false => return None,
            }
        };
        let topic = match topic {
            Ok(topic) => topic,
            Err(error) => {
                tracing::warn!(name, %error, "failed to continue a run in this process");
                return None;
            }
        };
        // `so_far` logs its errors.
        let Ok(so_far) = self.so_far(&topic, name, &starting).await else {
            return Some(producer);
        };
        self.start(name, starting, true, so_far?, producer);
        None
    }

    /// Returns the topic of the run with this name, if the run exists. The run may have ended.
    pub(super) async fn existing_run(
        &self,
        name: &str,
        again: Again,
    ) -> Result<Option<(Topic<T>, Decision)>, HubError> {
        check_name(name, self.0.store.as_ref())?;
        if let Some(store) = &self.0.store {
            // The engine is not asked for each client that resumes an open run.
            let is_open = self.0.state().topics.contains_key(name);
            if !is_open && !store.contains(name).await? {
                return Ok(None);
            }
            let topic = self.topic(name).await?;
            return Ok(match self.decide(&topic, name, false, again).await? {
                Decision::NoRun => None,
                decision => Some((topic, decision)),
            });
        }
        let mut state = self.0.state();
        // A topic with this name may exist even without a run, because other code may have created
        // it to publish or subscribe to it.
        let has_run = |slot: &Slot<T>| !matches!(slot.run, Run::None) || slot.topic.is_finished();
        match state.topics.get(name).is_some_and(has_run) {
            true => Ok(Some((self.lease(&mut state, name)?, Decision::Join))),
            false => Ok(None),
        }
    }

    /// Decides whether to start a run whose topic is held in memory. A run that has ended may be
    /// replaced by a new one, so this method also returns the current topic.
    fn decide_in_memory(
        &self,
        mut topic: Topic<T>,
        name: &str,
        again: Again,
    ) -> Result<(Topic<T>, Decision), HubError> {
        // Drop the replaced topics after releasing the lock, because the destructors of their values
        // may use the hub.
        let mut replaced = None;
        let mut state = self.0.state();
        // Another call may have restarted the run in the meantime.
        let current = self.lease(&mut state, name)?;
        let stale = mem::replace(&mut topic, current);
        if again == Again::Restart && topic.is_finished() {
            let old = state.topics.remove(name);
            let new = self.lease(&mut state, name)?;
            replaced = Some((old, mem::replace(&mut topic, new)));
        }
        // The topic is in use, so the slot still exists.
        let slot = self.slot(&mut state, name)?;
        // A run finishes its topic when it ends, so treat a finished topic as a run that has ended,
        // and replay it.
        let decision = if matches!(slot.run, Run::None) && !topic.is_finished() {
            slot.run = Run::Starting;
            Decision::Start(Starting::in_memory(&slot.usage))
        } else {
            Decision::Join
        };
        drop(state);
        drop((replaced, stale));
        Ok((topic, decision))
    }

    /// Starts a run. `producer` is user code and may use the hub, so the caller must not hold the
    /// hub's lock.
    fn start(
        &self,
        name: &str,
        starting: Starting,
        is_resumable: bool,
        so_far: Vec<Update<T>>,
        producer: Producer<'_, T>,
    ) {
        // The subscription or the task that starts the run keeps the topic in use, so the slot still
        // exists and is not full.
        let topic = {
            let mut state = self.0.state();
            let topic = self.lease_for(&mut state, name, starting.owner());
            if let Some(slot) = state.topics.get_mut(name)
                && !matches!(slot.run, Run::Stopped)
            {
                slot.run = Run::Starting;
            }
            topic
        };
        let Ok(topic) = topic else { return };
        let is_aborted: Arc<AtomicBool> = Arc::default();
        let is_taken_over: Arc<AtomicBool> = Arc::default();
        let end = EndOnDrop {
            topic: topic.clone(),
            name: name.to_owned(),
            is_stopped: true,
            is_over: false,
            failure: None,
            is_aborted: Arc::clone(&is_aborted),
            is_taken_over: Arc::clone(&is_taken_over),
            is_stored: self.0.store.is_some(),
            is_resumable,
            lease: starting.lease(is_resumable),
        };
        let usage = starting.started();
        let run = producer(topic, so_far);
        let run = run_to_end(end, run, self.0.limits.abandon_after);
        let run = Handle::current().spawn(run);
        // The run may already have ended by now, and the topic's slot may have been dropped or
        // replaced.
        if let Some(slot) = self.0.state().topics.get_mut(name)
            && Arc::ptr_eq(&slot.usage, &usage)
        {
            let started = Started {
                task: run.abort_handle(),
                is_aborted,
                is_taken_over,
            };
            if let Run::Stopped = slot.run {
                started.abort();
            }
            slot.run = Run::Started(started);
        }
    }
}
