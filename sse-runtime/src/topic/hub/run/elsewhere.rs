//! Runs that other processes are executing.

use std::{
    mem,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{Hub, HubError, Producer, Run, claim::Starting};
use crate::{
    generator::run_failure::Failure,
    topic::{
        Topic,
        engine::{Claimed, RunLeases},
        hub::Inner,
        lease::Usage,
    },
};

impl<T: Send + Sync + 'static> Hub<T> {
    pub(super) fn run_leases(&self) -> Option<&dyn RunLeases> {
        self.0.store.as_ref()?.node().run_leases()
    }

    /// Records in the slot that another process is executing the run.
    pub(super) fn set_elsewhere(&self, name: &str, usage: &Arc<Usage>) {
        let mut state = self.0.state();
        let slot = state.topics.get_mut(name);
        let Some(slot) = slot.filter(|slot| Arc::ptr_eq(&slot.usage, usage)) else {
            return;
        };
        if let Run::Elsewhere { .. } = slot.run {
            return;
        }
        slot.run = Run::Elsewhere { is_standby: false };
        drop(state);
        self.follow(name, usage, None);
    }

    /// Arranges that this process continues the run if it is lost, unless an earlier call has
    /// already done so. Does nothing if no other process is executing the run.
    pub(in crate::topic::hub) fn stand_by(&self, name: &str, producer: Producer<'static, T>) {
        let mut state = self.0.state();
        let Some(slot) = state.topics.get_mut(name) else {
            return;
        };
        let Run::Elsewhere { is_standby } = &mut slot.run else {
            return;
        };
        if mem::replace(is_standby, true) {
            return;
        }
        let usage = Arc::clone(&slot.usage);
        drop(state);
        self.follow(name, &usage, Some(producer));
    }

    /// Starts a task that continues the run with `producer` if the run is lost. Without a producer,
    /// the task ends a lost run that no other process would end (see `watch`).
    fn follow(&self, name: &str, usage: &Arc<Usage>, producer: Option<Producer<'static, T>>) {
        let Some(leases) = self.run_leases() else {
            return;
        };
        let following = Following {
            hub: Arc::downgrade(&self.0),
            name: name.to_owned(),
            usage: Arc::downgrade(usage),
        };
        let ttl = leases.ttl();
        Handle::current().spawn(async move {
            match producer {
                Some(producer) => following.stand_by(producer, ttl / 4).await,
                None => following.watch(ttl).await,
            }
        });
    }

    /// Stops a run that another process is executing. Returns whether the run was in progress.
    pub(in crate::topic::hub) async fn abort_elsewhere(
        &self,
        name: &str,
    ) -> Result<bool, HubError> {
        let Some(store) = &self.0.store else {
            return Ok(false);
        };
        if self.run_leases().is_none() || !store.contains(name).await? {
            return Ok(false);
        }
        let topic = self.topic(name).await?;
        if topic.is_finished() {
            return Ok(false);
        }
        let (usage, turn) = {
            let mut state = self.0.state();
            let slot = self.slot(&mut state, name)?;
            (Arc::clone(&slot.usage), Arc::clone(&slot.turn))
        };
        let turn = self.turn(turn, name).await?;
        let claim = self.claim_to_abort(&topic, name, usage, turn);
        let (claimed, starting) = claim.await?;
        match claimed {
            Claimed::Held => {
                // The process that is executing the run receives the end and stops the run.
                let stopped = Arc::new(Failure::stopped());
                topic.backend.fail(stopped, None).await.map_err(|error| {
                    tracing::warn!(name, %error, "failed to abort a run");
                    HubError::Unavailable
                })?;
                Ok(true)
            }
            Claimed::TakenOver => {
                self.end_lost(&topic, name, starting.owner()).await?;
                Ok(false)
            }
            Claimed::New | Claimed::Ended | Claimed::NoRun => Ok(false),
        }
    }
}

/// A run that another process is executing. Does not keep the topic in use.
struct Following<T> {
    hub: Weak<Inner<T>>,
    name: String,
    usage: Weak<Usage>,
}

impl<T: Send + Sync + 'static> Following<T> {
    /// Waits for the next check. Returns the hub, the topic and its usage, or `None` if the run has
    /// ended, if the hub has dropped the topic, or if this process is executing the run.
    async fn next(&self, every: Duration) -> Option<(Hub<T>, Topic<T>, Arc<Usage>)> {
        sleep(every.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
        let hub = Hub(self.hub.upgrade()?);
        let usage = self.usage.upgrade()?;
        let state = hub.0.state();
        let slot = state.topics.get(&self.name)?;
        let is_elsewhere = matches!(slot.run, Run::Elsewhere { .. });
        if !is_elsewhere || !Arc::ptr_eq(&slot.usage, &usage) || slot.topic.is_finished() {
            return None;
        }
        let topic = slot.topic.clone();
        drop(state);
        Some((hub, topic, usage))
    }

    /// Claims the run. If the engine has had neither a lease nor events for longer than the
    /// duration of a lease, the claim succeeds, because a process that was still executing the run
    /// would have created the lease again.
    async fn claim(
        &self,
        hub: &Hub<T>,
        topic: &Topic<T>,
        usage: Arc<Usage>,
        missing_since: &mut Option<Instant>,
        resumes: bool,
    ) -> Option<(Claimed, Starting)> {
        let turn = {
            let state = hub.0.state();
            Arc::clone(&state.topics.get(&self.name)?.turn)
        };
        let turn = turn.lock_owned().await;
        let ttl = hub.run_leases()?.ttl();
        let starts = missing_since.is_some_and(|since| since.elapsed() > ttl);
        let claim = hub.claim(topic, &self.name, usage, turn, starts, resumes);
        // `claim` logs its errors.
        let claimed = claim.await.ok();
        *missing_since = match &claimed {
            Some((Claimed::NoRun, _)) => missing_since.or_else(|| Some(Instant::now())),
            _ => None,
        };
        claimed
    }

    /// Ends the run if it is lost and no other process ends it. No other process does so if the
    /// process that was executing the run has stopped before the first event, or if the engine has
    /// lost the lease.
    async fn watch(self, every: Duration) {
        let mut missing_since = None;
        while let Some((hub, topic, usage)) = self.next(every).await {
            let claim = self.claim(&hub, &topic, usage, &mut missing_since, false);
            if let Some((Claimed::New | Claimed::TakenOver, starting)) = claim.await {
                // `end_lost` logs its errors. The next claim then tries again.
                let _ = hub.end_lost(&topic, &self.name, starting.owner()).await;
            }
        }
    }

    /// Continues the run if it is lost.
    async fn stand_by(self, mut producer: Producer<'static, T>, every: Duration) {
        let mut missing_since = None;
        while let Some((hub, topic, usage)) = self.next(every).await {
            let claim = self.claim(&hub, &topic, usage, &mut missing_since, true);
            match claim.await {
                Some((Claimed::New | Claimed::TakenOver, starting)) => {
                    tracing::warn!(
                        name = self.name,
                        "continuing a run whose process has stopped"
                    );
                    let unused = hub.continue_here(&self.name, starting, producer).await;
                    let Some(unused) = unused else { return };
                    producer = unused;
                }
                Some((Claimed::Ended, _)) => return,
                _ => {}
            }
        }
    }
}
