//! Decides whether this process starts or continues a run whose topic is stored by an engine.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

use super::{Again, Hub, HubError, Run, task::HeldLease};
use crate::{
    generator::run_failure::Failure,
    topic::{
        PublishError, Topic, Update,
        engine::{Claim, Claimed, Node, RunOwner},
        lease::Usage,
        subscription::read_held,
    },
};

/// The maximum time for which a request waits for other requests that are claiming the same run.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// The decision on a request for a run.
pub(in crate::topic::hub) enum Decision {
    /// Start or continue the run.
    Start(Starting),
    /// Read the topic. The run is in progress or has ended.
    Join,
    /// The run does not exist, and must not be started.
    NoRun,
}

/// A run that this process is about to start. If this is dropped before the run has started, the
/// claim to the run is withdrawn.
pub(in crate::topic::hub) struct Starting {
    usage: Arc<Usage>,
    /// Whether a lost run is continued. Otherwise, a new run is started.
    continues: bool,
    claim: Option<AcceptedClaim>,
    /// Held until the run has started. Meanwhile, other requests for the run wait.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Starting {
    pub(super) fn in_memory(usage: &Arc<Usage>) -> Self {
        Self {
            usage: Arc::clone(usage),
            continues: false,
            claim: None,
            _turn: None,
        }
    }

    /// Returns the owner of the run, if the engine has a lease for it.
    pub(super) fn owner(&self) -> Option<RunOwner> {
        self.claim.as_ref().map(|claim| claim.owner)
    }

    /// Returns whether the run's topic has this usage.
    pub(super) fn is_of(&self, usage: &Arc<Usage>) -> bool {
        Arc::ptr_eq(&self.usage, usage)
    }

    /// Returns the lease of the run, if the engine has one.
    pub(super) fn lease(&self, is_resumable: bool) -> Option<HeldLease> {
        let claim = self.claim.as_ref()?;
        let (node, topic) = (claim.node.clone(), claim.topic.clone());
        Some(HeldLease::new(node, topic, claim.owner, is_resumable))
    }

    /// Keeps the claim, because the run has started. Returns the topic's usage.
    pub(super) fn started(mut self) -> Arc<Usage> {
        if let Some(claim) = &mut self.claim {
            claim.is_kept = true;
        }
        Arc::clone(&self.usage)
    }
}

/// A claim that the engine may have accepted. It is withdrawn when dropped, unless it is kept.
struct AcceptedClaim {
    node: Node,
    /// The topic's name in the engine.
    topic: String,
    owner: RunOwner,
    is_kept: bool,
}

impl Drop for AcceptedClaim {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // Outside of a runtime, the claim cannot be withdrawn, and its lease expires instead.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (node, owner) = (self.node.clone(), self.owner);
        let topic = std::mem::take(&mut self.topic);
        runtime.spawn(async move {
            let Some(leases) = node.run_leases() else {
                return;
            };
            if let Err(error) = leases.release(&topic, owner).await {
                tracing::debug!(topic, %error, "failed to release a run before its lease expires");
            }
        });
    }
}

impl<T: Send + Sync + 'static> Hub<T> {
    /// Decides whether to start or continue a run whose topic is stored by an engine. Ends the run
    /// if it is lost and must not be continued. If `starts` is `false`, a run that does not exist
    /// is not started.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a claim that was accepted is withdrawn.
    pub(super) async fn decide(
        &self,
        topic: &Topic<T>,
        name: &str,
        starts: bool,
        again: Again,
    ) -> Result<Decision, HubError> {
        let (usage, turn) = {
            let mut state = self.0.state();
            let slot = self.slot(&mut state, name)?;
            (Arc::clone(&slot.usage), Arc::clone(&slot.turn))
        };
        // Each run is claimed by one request at a time. The other requests then find the result in
        // the slot.
        let turn = self.turn(turn, name).await?;
        if topic.is_finished() || self.is_known(topic, name) {
            return Ok(Decision::Join);
        }
        let resumes = again == Again::Resume;
        let claim = self.claim(topic, name, usage, turn, starts, resumes);
        let (claimed, starting) = claim.await?;
        Ok(match claimed {
            Claimed::New => Decision::Start(starting),
            Claimed::TakenOver if resumes => Decision::Start(starting),
            Claimed::TakenOver => {
                self.end_lost(topic, name, starting.owner()).await?;
                Decision::Join
            }
            Claimed::Held => {
                self.set_elsewhere(name, &starting.usage);
                Decision::Join
            }
            Claimed::Ended => Decision::Join,
            Claimed::NoRun => Decision::NoRun,
        })
    }

    /// Waits until no other request is claiming the run. If the engine does not respond, each claim
    /// takes a while, so requests must not wait for many others.
    pub(super) async fn turn(
        &self,
        turn: Arc<Mutex<()>>,
        name: &str,
    ) -> Result<OwnedMutexGuard<()>, HubError> {
        timeout(TURN_TIMEOUT, turn.lock_owned()).await.map_err(|_| {
            tracing::debug!(name, "another request is still claiming the run");
            HubError::Unavailable
        })
    }

    /// Claims a run in order to start, continue or read it. Dropping the returned value withdraws the
    /// claim.
    pub(super) async fn claim(
        &self,
        topic: &Topic<T>,
        name: &str,
        usage: Arc<Usage>,
        turn: OwnedMutexGuard<()>,
        starts: bool,
        resumes: bool,
    ) -> Result<(Claimed, Starting), HubError> {
        let claim = Claim {
            owner: RunOwner::random(),
            starts,
            adopts: true,
            resumes,
        };
        self.claim_with(topic, name, usage, turn, claim).await
    }

    /// Claims a run in order to abort it. Does not affect topics that other code publishes to.
    pub(super) async fn claim_to_abort(
        &self,
        topic: &Topic<T>,
        name: &str,
        usage: Arc<Usage>,
        turn: OwnedMutexGuard<()>,
    ) -> Result<(Claimed, Starting), HubError> {
        let claim = Claim {
            owner: RunOwner::random(),
            starts: false,
            adopts: false,
            resumes: false,
        };
        self.claim_with(topic, name, usage, turn, claim).await
    }

    async fn claim_with(
        &self,
        topic: &Topic<T>,
        name: &str,
        usage: Arc<Usage>,
        turn: OwnedMutexGuard<()>,
        claim: Claim,
    ) -> Result<(Claimed, Starting), HubError> {
        let mut starting = Starting {
            usage,
            continues: false,
            claim: None,
            _turn: Some(turn),
        };
        let Some(store) = &self.0.store else {
            return Ok((Claimed::NoRun, starting));
        };
        let Some(leases) = store.node().run_leases() else {
            // No other process is executing the run, and neither is this one.
            let claimed = match topic.backend.is_new() {
                false => Claimed::TakenOver,
                true if claim.starts => Claimed::New,
                true => Claimed::NoRun,
            };
            starting.continues = claimed == Claimed::TakenOver;
            return Ok((claimed, starting));
        };
        let (stored, owner) = (store.stored_name(name), claim.owner);
        starting.claim = Some(AcceptedClaim {
            node: store.node().clone(),
            topic: stored.clone(),
            owner,
            is_kept: false,
        });
        let claimed = leases.claim(&stored, claim).await.map_err(|error| {
            tracing::warn!(name, %error, "failed to claim a run");
            HubError::Unavailable
        })?;
        starting.continues = claimed == Claimed::TakenOver;
        if !matches!(claimed, Claimed::New | Claimed::TakenOver)
            && let Some(claim) = &mut starting.claim
        {
            // The claim was rejected, so there is nothing to withdraw.
            claim.is_kept = true;
        }
        Ok((claimed, starting))
    }

    /// Returns whether the slot already shows that the run is in progress or has ended.
    fn is_known(&self, topic: &Topic<T>, name: &str) -> bool {
        let state = self.0.state();
        match state.topics.get(name).map(|slot| &slot.run) {
            None | Some(Run::None) => false,
            // If the engine has lost the topic, it has lost the lease as well.
            Some(Run::Elsewhere { .. }) => !topic.backend.is_new(),
            Some(Run::Started(run)) => {
                let is_lost = run.is_finished() && topic.backend.is_new();
                !(run.is_taken_over() || is_lost && self.run_leases().is_some())
            }
            Some(Run::Starting | Run::Stopped) => true,
        }
    }

    /// Ends the topic of a lost run.
    pub(super) async fn end_lost(
        &self,
        topic: &Topic<T>,
        name: &str,
        owner: Option<RunOwner>,
    ) -> Result<(), HubError> {
        tracing::warn!(
            name,
            "the process that was executing a run has stopped; ending the run"
        );
        let ended = topic.backend.fail(Arc::new(Failure::lost()), owner).await;
        match ended {
            // If the run was fenced, another process ends or continues it.
            Ok(()) | Err(PublishError::Fenced) => Ok(()),
            Err(error) => {
                tracing::warn!(name, %error, "failed to end a lost run");
                Err(HubError::Unavailable)
            }
        }
    }

    /// Returns the events that a lost run has published, or an empty list for a new run. Returns
    /// `None` if the run has ended. If the topic no longer holds all of the events, or if some of
    /// them cannot be decoded, the run cannot be continued. In that case, ends the run and returns
    /// `None`.
    pub(super) async fn so_far(
        &self,
        topic: &Topic<T>,
        name: &str,
        starting: &Starting,
    ) -> Result<Option<Vec<Update<T>>>, HubError> {
        if !starting.continues {
            return Ok(Some(Vec::new()));
        }
        topic.backend.catch_up().await.map_err(|error| {
            tracing::warn!(name, %error, "failed to read the events of a lost run");
            HubError::Unavailable
        })?;
        if topic.is_finished() {
            // Another process has stopped the run in the meantime.
            return Ok(None);
        }
        let so_far = match topic.backend.holds_everything() {
            true => read_held(&topic.backend),
            false => None,
        };
        if so_far.is_none() {
            tracing::error!(
                name,
                "a lost run cannot be continued, because its topic no longer holds all of its \
                 events, or some of them cannot be decoded; increase `keep` and `keep_bytes`"
            );
            self.end_lost(topic, name, starting.owner()).await?;
        }
        Ok(so_far)
    }
}
