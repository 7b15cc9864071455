//! The task that executes a run.

use std::{
    future::{Future, pending},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    generator::run_failure::Failure,
    topic::{
        PublishError, Topic,
        engine::{Backoff, Node, Renewed, RunLeases, RunOwner},
        run_result::RunError,
    },
};

/// A run's task. Dropping `end` finishes the topic, even if the run panics or is aborted.
pub(super) async fn run_to_end<T: Send + Sync + 'static>(
    mut end: EndOnDrop<T>,
    run: impl Future<Output = Result<(), RunError>>,
    abandon_after: Option<Duration>,
) {
    let outcome = tokio::select! {
        outcome = run => outcome,
        () = abandoned(&end, abandon_after) => Err(RunError::abandoned()),
        () = taken_away(&end) => {
            end.is_over = true;
            return;
        }
    };
    end.is_stopped = false;
    if let Err(RunError { failure, log }) = outcome {
        tracing::error!(name = end.name, error = log, "a run ended with an error");
        end.failure = Some(failure);
    }
}

/// Completes once a run has had no readers for `after`, neither in this process nor in another one.
async fn abandoned<T: Send + Sync + 'static>(end: &EndOnDrop<T>, after: Option<Duration>) {
    let Some(mut after) = after else {
        return pending().await;
    };
    let mut pause = Duration::ZERO;
    if let Some(lease) = &end.lease {
        // Other processes report their readers only at intervals.
        after = after.max(lease.ttl());
        pause = lease.ttl() / 10;
    }
    loop {
        let mut left = after;
        if let Some(since) = end.topic.backend.unread_since() {
            // The readers of other processes are known only up to the last renewal of the lease.
            let (now, read) = match &end.lease {
                Some(lease) => lease.renewal(),
                None => (Instant::now(), since),
            };
            left = after.saturating_sub(now.saturating_duration_since(since.max(read)));
        }
        if left.is_zero() {
            return;
        }
        sleep(left.max(pause)).await;
    }
}

/// Completes once another process has ended or taken over a run.
async fn taken_away<T: Send + Sync + 'static>(end: &EndOnDrop<T>) {
    let lost = async {
        match &end.lease {
            Some(lease) => lease.renew().await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = lost => {
            let name = &*end.name;
            tracing::warn!(name, "stopping a run that another process has taken over");
            end.is_taken_over.store(true, Ordering::Relaxed);
        }
        () = end.topic.backend.ended_elsewhere() => {
            tracing::info!(name = end.name, "stopping a run that another process has ended");
        }
    }
}

/// The lease of a run that this process is executing.
pub(super) struct HeldLease {
    node: Node,
    /// The topic's name in the engine.
    topic: String,
    owner: RunOwner,
    is_resumable: bool,
    /// The time at which the lease was last renewed, and the last time at which, as far as this
    /// process knows, another process had readers.
    renewal: Mutex<(Instant, Instant)>,
}

impl HeldLease {
    pub(super) fn new(node: Node, topic: String, owner: RunOwner, is_resumable: bool) -> Self {
        Self {
            node,
            topic,
            owner,
            is_resumable,
            renewal: Mutex::new((Instant::now(), Instant::now())),
        }
    }

    fn ttl(&self) -> Duration {
        let leases = self.node.run_leases();
        leases.map_or(Duration::ZERO, RunLeases::ttl)
    }

    fn renewal(&self) -> (Instant, Instant) {
        *self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_renewed(&self, read: Option<Duration>) {
        let (now, (last, known)) = (Instant::now(), self.renewal());
        let read = match now.duration_since(last) > self.ttl() {
            // After an outage, the other processes must have time to report their readers.
            true => now,
            false => read.and_then(|ago| now.checked_sub(ago)).unwrap_or(known),
        };
        let renewal = (now, read.max(known));
        *self.renewal.lock().unwrap_or_else(PoisonError::into_inner) = renewal;
    }

    /// Renews the lease until another owner takes over the run.
    async fn renew(&self) {
        let Some(leases) = self.node.run_leases() else {
            return pending().await;
        };
        // Two attempts may fail before the lease expires. If an attempt takes longer than this
        // interval, for example because a connection has failed silently, the next attempt follows
        // immediately.
        let every = leases.ttl().mul_f64(0.3);
        let mut next = Instant::now() + every;
        loop {
            sleep_until(next).await;
            next = Instant::now() + every;
            let renewing = leases.renew(&self.topic, self.owner, self.is_resumable);
            match renewing.await {
                Ok(Renewed::Held { read }) => self.set_renewed(read),
                Ok(Renewed::Lost) => return,
                // The feed reports whether another process has ended the run.
                Ok(Renewed::Ended) => return pending().await,
                Err(error) => {
                    let topic = &*self.topic;
                    tracing::debug!(topic, %error, "failed to renew the lease of a run; trying again");
                }
            }
        }
    }

    /// Makes the lease expire, so that another process can continue the run immediately.
    async fn release(self) {
        let Some(leases) = self.node.run_leases() else {
            return;
        };
        if let Err(error) = leases.release(&self.topic, self.owner).await {
            let topic = &*self.topic;
            tracing::debug!(topic, %error, "failed to release a run before its lease expires");
        }
    }
}

/// A guard owned by a run's task. Ends the run's topic when the task ends or is dropped.
pub(super) struct EndOnDrop<T: Send + Sync + 'static> {
    pub(super) topic: Topic<T>,
    pub(super) name: String,
    /// `true` until the run returns. If this is still `true` when the guard is dropped, the run was
    /// aborted or panicked.
    pub(super) is_stopped: bool,
    /// Whether another process has ended or taken over the run.
    pub(super) is_over: bool,
    /// The failure of the run, if it has returned an error.
    pub(super) failure: Option<Failure>,
    /// Whether [`Hub::abort`](super::Hub::abort) stopped the run.
    pub(super) is_aborted: Arc<AtomicBool>,
    /// Set if another process takes over the run. The hub then asks the engine for the run's owner.
    pub(super) is_taken_over: Arc<AtomicBool>,
    pub(super) is_stored: bool,
    /// Whether the run can be continued if this process stops.
    pub(super) is_resumable: bool,
    pub(super) lease: Option<HeldLease>,
}

impl<T: Send + Sync + 'static> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let lease = self.lease.take();
        let failure = if thread::panicking() {
            tracing::error!(name = self.name, "a run panicked");
            Some(Failure::panicked())
        } else if self.is_stopped {
            // A run is also dropped if the runtime shuts down. The topic of a stored run outlives
            // the runtime, so record that the run was lost.
            let is_lost = self.is_stored && !self.is_aborted.load(Ordering::Relaxed);
            if is_lost && self.is_resumable {
                if let (Some(lease), Ok(runtime)) = (lease, Handle::try_current()) {
                    runtime.spawn(lease.release());
                }
                return;
            }
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

/// The delays between attempts to end the topic of a run.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Ends the topic of a run. While the engine that stores the topic is unavailable, repeats the
/// attempt, because the topic's readers would otherwise wait forever.
async fn end<T: Send + Sync + 'static>(
    topic: Topic<T>,
    name: String,
    failure: Option<Arc<Failure>>,
) {
    let mut backoff = RETRY;
    loop {
        let ended = match &failure {
            Some(failure) => topic.backend.fail(Arc::clone(failure), None).await,
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
        backoff.wait().await;
    }
}
