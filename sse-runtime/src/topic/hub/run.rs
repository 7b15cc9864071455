//! Runs: producers that publish to a topic of the hub and outlive their clients.

use std::{
    future::{Future, pending},
    mem,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle, time::sleep};

use super::{Hub, LONGEST_NAME, Slot, error::HubError};
use crate::{
    generator::run_failure::Failure,
    topic::{
        Cursor, Subscription, Topic,
        backend::Backend as _,
        ring::Ring,
        run_result::{RunError, RunResult},
    },
};

/// The behaviour if a client without an id requests a name whose run has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Replay,
    Restart,
}

#[derive(Default)]
pub(super) enum Run {
    #[default]
    None,
    /// A call to `spawn` is about to start it.
    Starting,
    /// It was aborted before it started.
    Stopped,
    /// It has started. This value stays until the topic is dropped, so that the run is not started
    /// again.
    Started(AbortHandle),
}

impl<T: Send + Sync + 'static> Hub<T> {
    /// Starts a run that publishes to the topic with this name, unless there already is one, and
    /// reads the topic from `cursor` on.
    ///
    /// The run is detached from any client: a language model that is writing an answer continues
    /// when the user reloads the page, and any tab that requests the name reads the answer. Nothing
    /// else in this crate outlives its client. When the run ends, the topic is
    /// [finished](Topic::finish) and kept for the hub's [`idle`](HubBuilder::idle) time, during
    /// which it can be replayed. After that, the name is free for another run.
    ///
    /// Pass the request's [`LastEventId`](crate::LastEventId) as the cursor. A client without an id
    /// reads from the oldest event that the topic holds, unless
    /// [`last.or(…)`](crate::LastEventId::or) says otherwise, so give the topic enough capacity for
    /// a whole run. **A client that has an id never starts a run**: it resumes the run that it was
    /// reading. If there is no run with this name, it receives a [`Gap`](crate::topic::Gap), and
    /// then an end that stops it from reconnecting. If there is a run but the id is from another
    /// one, or is invalid, it receives a gap and reads the current run from the oldest event that
    /// is held. An [`EventId`](crate::EventId) that the client has sent in another way, such as in
    /// the body, can also be a cursor. To start a run without reading it, pass
    /// [`Start::First`](crate::Start::First) and drop the subscription.
    ///
    /// The run is started only once, however many clients request it at the same time. A name whose
    /// run has ended is replayed, and does not run again until its topic is dropped, unless you use
    /// [`spawn_again`](Self::spawn_again).
    ///
    /// If the run returns an error or panics, the failure is logged, and every reader's stream ends
    /// with the endpoint's `error_event`, after the published events. The data of that event is the
    /// error as JSON if the error is [`Serialize`](serde::Serialize), and a problem without details
    /// otherwise. Under `events = "own"`, the default for all methods except `GET`, an error that
    /// is `Serialize` is sent too, but without the id that stops a client; in any other case the
    /// response is aborted. Nothing that a handler yields after the failed run is sent, so a marker
    /// of its own, such as `[DONE]`, cannot make half an answer look complete; an error that the
    /// handler returns is sent instead of the run's error. Such a stream closes with the reason
    /// [`Failed`](crate::CloseReason::Failed) or [`Panicked`](crate::CloseReason::Panicked) and is
    /// never `done`. A client that reconnects with the id of the error event is stopped.
    ///
    /// Do not start a run on a topic that other code publishes to as well, such as a chat room,
    /// because the end of the run finishes the topic. Use another hub.
    ///
    /// The producer returns `()` or a `Result<(), E>`, or never ends.
    ///
    /// # Errors
    ///
    /// Returns an error if the hub is full ([`HubError::Full`]) or the name is too long
    /// ([`HubError::NameTooLong`]).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    ///
    /// ```
    /// use axum::extract::{Path, State};
    /// use sse_runtime::{Hub, LastEventId, Stream, sse_endpoint, topic::{HubError, PublishError}};
    ///
    /// # async fn next_word() -> Option<String> { None }
    /// #[sse_endpoint("/answers/{id}")]
    /// async fn answer(
    ///     Path(id): Path<String>,
    ///     State(answers): State<Hub<String>>,
    ///     last: LastEventId,
    /// ) -> Result<impl Stream<Item = String>, HubError> {
    ///     let answer = answers.spawn(&id, last, |topic| async move {
    ///         while let Some(word) = next_word().await {
    ///             topic.publish(&word).await?;
    ///         }
    ///         Ok::<(), PublishError>(())
    ///     })?;
    ///     yield_all!(answer);
    /// }
    /// ```
    pub fn spawn<F, Fut, Kind>(
        &self,
        name: &str,
        cursor: impl Into<Cursor>,
        producer: F,
    ) -> Result<Subscription<T>, HubError>
    where
        F: FnOnce(Topic<T>) -> Fut,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
    {
        self.run(name, cursor.into(), Again::Replay, producer)
    }

    /// Starts a run as [`spawn`](Self::spawn) does, but a name whose run has ended runs again if
    /// the client has no id: the second message of a conversation gets an answer of its own, not a
    /// replay of the first answer. If the run has not ended, it is joined, and `producer` is not
    /// called.
    ///
    /// Clients still reading the old run read it to its end. A client that reconnects with an id
    /// from the old run receives a [`Gap`](crate::topic::Gap) and reads the new one.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn spawn_again<F, Fut, Kind>(
        &self,
        name: &str,
        cursor: impl Into<Cursor>,
        producer: F,
    ) -> Result<Subscription<T>, HubError>
    where
        F: FnOnce(Topic<T>) -> Fut,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
    {
        self.run(name, cursor.into(), Again::Restart, producer)
    }

    fn run<F, Fut, Kind>(
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
        // Dropped after the lock, because the destructor of a value in it may use the hub.
        let mut replaced = None;
        if again == Again::Restart && topic.is_finished() {
            let old = state.topics.remove(name);
            let new = self.lease(&mut state, name);
            replaced = Some((old, mem::replace(&mut topic, new)));
        }
        let slot = self.slot(&mut state, name);
        // A run finishes its topic when it ends, so a finished topic is replayed.
        if !matches!(slot.run, Run::None) || topic.is_finished() {
            drop(state);
            return Ok(topic.subscribe(cursor));
        }
        slot.run = Run::Starting;
        let usage = Arc::clone(&slot.usage);
        // `producer` is user code and may use the hub, so it is called without the lock.
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
        // If the run has already ended, its slot may have been dropped or replaced.
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

    /// Reads a run without starting one: the client has an id, so it has read a run before.
    fn resume(&self, name: &str, cursor: Cursor) -> Result<Subscription<T>, HubError> {
        if name.len() > LONGEST_NAME {
            return Err(HubError::NameTooLong);
        }
        let mut state = self.0.state();
        // A topic with this name may exist without a run: other code may publish to it, or read it.
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

    /// Stops the run with this name at its next `.await`, and returns whether a run was in
    /// progress.
    ///
    /// Readers receive the events that the run has published. Then a `GET` stream ends with `done`,
    /// which stops its client. Under `on_cut = "abort"`, the default for all other methods, the
    /// response is aborted instead, with the reason [`Failed`](crate::CloseReason::Failed), so that
    /// half an answer does not look complete. Nothing that its handler yields afterwards is sent.
    /// [`Subscription::has_failed`] stays `false`.
    pub fn abort(&self, name: &str) -> bool {
        let mut state = self.0.state();
        let Some(slot) = state.topics.get_mut(name) else {
            return false;
        };
        match &slot.run {
            Run::Started(run) if !run.is_finished() => run.abort(),
            Run::Starting => slot.run = Run::Stopped,
            Run::None | Run::Stopped | Run::Started(_) => return false,
        }
        true
    }
}

/// The task of a run. Dropping `end` finishes the topic, even if the run panics or is aborted.
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

/// Waits until a run has had no reader for the duration `after`.
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

/// Finishes the topic of a run when the run is dropped, unless the topic has already failed.
struct EndOnDrop<T: Send + Sync + 'static> {
    topic: Topic<T>,
    name: String,
    /// Whether the run was aborted: `true` until it has returned.
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
