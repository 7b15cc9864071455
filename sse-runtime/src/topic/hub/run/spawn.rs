//! The methods of [`Hub`] that start, read and stop runs.

use super::{Again, Outcome, Run};
use crate::topic::{
    Cursor, Hub, HubError, Subscription, Topic, Update, engine::BoxFuture, hub::check_name,
    run_result::RunResult,
};

impl<T: Send + Sync + 'static> Hub<T> {
    /// Starts a run that publishes to the topic with this name, unless the name already has a run.
    /// In either case, subscribes to the topic, starting at `cursor`.
    ///
    /// The run is not tied to a client. For example, if the user reloads the page, a language model
    /// continues to write its answer, and any tab that requests the same name receives it.
    /// Everything else that this crate runs for a client stops when the client disconnects. When
    /// the run ends, its topic is [finished](Topic::finish). The run can then be replayed for the
    /// hub's [`idle`](crate::topic::HubBuilder::idle) time. After that, the name can be used for
    /// another run.
    ///
    /// Pass the request's [`LastEventId`](crate::LastEventId) as the cursor. A client without an id
    /// starts with the oldest event in the topic, unless [`last.or(…)`](crate::LastEventId::or)
    /// specifies another starting point. Give the topic enough capacity for a whole run. **A client
    /// that has an id never starts a run**. Instead, the client resumes the run that it was
    /// reading. If no run with this name exists, the client receives a [`Gap`](crate::topic::Gap).
    /// The stream then ends, and the client does not reconnect. If a run exists but the id is
    /// invalid or belongs to another run, the client receives a gap and then reads the current run
    /// from the oldest event still held. If the client sends its id in another way, for example in
    /// the request body, pass an [`EventId`](crate::EventId) as the cursor. To start a run without
    /// reading it, pass [`Start::First`](crate::Start::First) and drop the subscription.
    ///
    /// The future returned by `producer` resolves to `()` or a `Result<(), E>`, or never completes.
    ///
    /// The run is started only once, even if many clients request it at the same time. A run that
    /// has ended is replayed. Unless you use [`spawn_again`](Self::spawn_again), no new run with
    /// the same name starts until the topic of the ended run has been dropped.
    ///
    /// Do not start a run on a topic that other code also publishes to, such as a chat room,
    /// because the topic is finished when the run ends. Use a separate hub for runs.
    ///
    /// # Failed runs
    ///
    /// If the run returns an error or panics, the failure is logged. Every reader's stream delivers
    /// the published events and then ends with the event named by the endpoint's `error_event` key.
    /// If the error implements [`Serialize`](serde::Serialize), the event's data is the error as
    /// JSON. Otherwise, the data is an RFC 9457 problem without details. With `events = "own"`,
    /// which is the default for every method except `GET`, an error that implements `Serialize` is
    /// sent without the id that stops a client from reconnecting. With this setting, any other
    /// failure aborts the response. Values that a handler yields after it has read a failed run to
    /// the end are not sent, so a marker such as `[DONE]` cannot make a partial answer look
    /// complete. If the handler returns an error, that error is sent instead of the run's error.
    /// The stream closes with the reason [`Failed`](crate::CloseReason::Failed) or
    /// [`Panicked`](crate::CloseReason::Panicked) and never sends `done`. If a client reconnects
    /// with the error event's id, it receives a `204` and stops reconnecting.
    ///
    /// # Runs with an engine
    ///
    /// If an engine stores the hub's topics, the events of a run survive a restart of the process,
    /// but the run itself does not. A client that reconnects receives the events that it missed,
    /// followed by a `close` event with the reason
    /// [`ProducerLost`](crate::CloseReason::ProducerLost). To continue the run instead, use
    /// [`spawn_or_resume`](Self::spawn_or_resume).
    ///
    /// If the engine is unavailable, the run continues, but [`publish`](Topic::publish) returns an error.
    /// A producer that returns this error ends its run. Use
    /// [`publish_with_retry`](Topic::publish_with_retry) to wait until the engine is available again.
    ///
    /// If several processes share the engine, a run is started only once across all of them. If the
    /// process that is executing the run stops or cannot reach the engine, another process ends the
    /// run after some time (10 to 15 seconds by default for `sse-redis`), and all readers receive
    /// the `close` event.
    ///
    /// # Errors
    ///
    /// Returns an error if the hub is full ([`HubError::Full`]) or the name is too long
    /// ([`HubError::NameTooLong`]). If an engine stores the topics, this method can also return the
    /// same errors as [`topic`](Self::topic).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the run either has already started or never starts.
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
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
    ///             topic.publish_with_retry(&word).await?;
    ///         }
    ///         Ok::<(), PublishError>(())
    ///     }).await?;
    ///     yield_all!(answer);
    /// }
    /// ```
    pub fn spawn<'a, F, Fut, Kind>(
        &'a self,
        name: &'a str,
        cursor: impl Into<Cursor>,
        producer: F,
    ) -> BoxFuture<'a, Result<Subscription<T>, HubError>>
    where
        F: FnOnce(Topic<T>) -> Fut + Send + 'a,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
        Kind: 'static,
    {
        // The boxed future does not mention `Fut`. If it did, the compiler would report an invalid
        // return type three times: for the call, for the future and for the `.await`.
        Box::pin(self.spawn_with(name, cursor.into(), Again::Replay, producer))
    }

    /// Like [`spawn`](Self::spawn), but starts a new run if the run with this name has ended and
    /// the client has no id. This way, the second message in a conversation gets a new answer
    /// instead of a replay of the first one. If the run is still in progress, the client joins it,
    /// and `producer` is not called.
    ///
    /// Clients that are still reading the old run can read it to the end. If a client reconnects
    /// with an id from the old run, it receives a [`Gap`](crate::topic::Gap) and then reads the new
    /// run.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`spawn`](Self::spawn). Also returns
    /// [`HubError::StoredRun`] if the run has ended and an engine stores the hub's topics.
    ///
    /// # Cancel safety
    ///
    /// See [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    pub fn spawn_again<'a, F, Fut, Kind>(
        &'a self,
        name: &'a str,
        cursor: impl Into<Cursor>,
        producer: F,
    ) -> BoxFuture<'a, Result<Subscription<T>, HubError>>
    where
        F: FnOnce(Topic<T>) -> Fut + Send + 'a,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
        Kind: 'static,
    {
        // The boxed future does not mention `Fut`. If it did, the compiler would report an invalid
        // return type three times: for the call, for the future and for the `.await`.
        Box::pin(self.spawn_with(name, cursor.into(), Again::Restart, producer))
    }

    /// Like [`spawn`](Self::spawn), but continues a run if the process that was executing it has
    /// stopped. Use this method if a producer can continue from the events that have already been
    /// published. For example, an import can continue after the last imported line.
    ///
    /// The second argument of `producer` contains all events that the run has published so far. It
    /// is empty if the run is new. If the topic no longer holds all of these events, the run cannot
    /// be continued and ends in the same way as a run that was started by `spawn`. Give the topic
    /// enough capacity for a whole run.
    ///
    /// If several processes share the engine, each process that calls this method keeps its
    /// `producer` until the run has ended, or until the hub drops the topic because it has been
    /// unused in this process for the [`idle`](crate::topic::HubBuilder::idle) time. If the process
    /// that is executing the run stops, one of the other processes continues the run. Until then,
    /// the streams of all clients stay open. If no process continues the run within a minute after
    /// its lease has expired, for example because no other process has called this method, the run
    /// is ended.
    ///
    /// If only one process can use the engine, the first call after a restart continues the run.
    /// Without an engine, this method behaves like `spawn`, because an in-memory run cannot outlive
    /// its process.
    ///
    /// The request of a client that has an id never starts a run, but it may continue one.
    ///
    /// ```
    /// use axum::extract::{Path, State};
    /// use sse_runtime::{Hub, LastEventId, Stream, sse_endpoint, topic::{HubError, PublishError}};
    ///
    /// # async fn import(line: u64) {}
    /// #[sse_endpoint("/imports/{id}")]
    /// async fn progress(
    ///     Path(id): Path<String>,
    ///     State(imports): State<Hub<u64>>,
    ///     last: LastEventId,
    /// ) -> Result<impl Stream<Item = u64>, HubError> {
    ///     let progress = imports.spawn_or_resume(&id, last, |topic, so_far| async move {
    ///         let first = so_far.last().map_or(0, |line| **line + 1);
    ///         for line in first..1_000 {
    ///             import(line).await;
    ///             topic.publish_with_retry(&line).await?;
    ///         }
    ///         Ok::<(), PublishError>(())
    ///     }).await?;
    ///     yield_all!(progress);
    /// }
    /// ```
    ///
    /// A process may stop after the producer has done the work for an event, but before it has
    /// published the event. The process that continues the run then repeats this work, so the work
    /// should be idempotent.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    ///
    /// See [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    pub fn spawn_or_resume<'a, F, Fut, Kind>(
        &'a self,
        name: &'a str,
        cursor: impl Into<Cursor>,
        producer: F,
    ) -> BoxFuture<'a, Result<Subscription<T>, HubError>>
    where
        F: FnOnce(Topic<T>, Vec<Update<T>>) -> Fut + Send + 'static,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
        Kind: 'static,
    {
        let cursor = cursor.into();
        // See `spawn` for why the future is boxed.
        Box::pin(async move {
            let producer = Box::new(|topic, so_far| -> Outcome {
                let run = producer(topic, so_far);
                Box::pin(async { run.await.outcome() })
            });
            let (subscription, unused) = self.run(name, cursor, Again::Resume, producer).await?;
            if let Some(producer) = unused {
                self.stand_by(name, producer);
            }
            Ok(subscription)
        })
    }

    /// Subscribes to the run with this name, starting at `cursor`. Unlike [`spawn`](Self::spawn),
    /// this method never starts a run. Returns `None` if the run does not exist, or if it has ended
    /// and the hub has already dropped it.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is too long ([`HubError::NameTooLong`]). If an engine stores
    /// the topics, this method can also return the same errors as [`topic`](Self::topic).
    ///
    /// # Cancel safety
    ///
    /// See [`topic`](Self::topic).
    pub fn resume<'a>(
        &'a self,
        name: &'a str,
        cursor: impl Into<Cursor>,
    ) -> BoxFuture<'a, Result<Option<Subscription<T>>, HubError>> {
        let cursor = cursor.into().for_run();
        Box::pin(async move {
            let run = self.existing_run(name, Again::Replay).await?;
            Ok(run.map(|(topic, _)| topic.subscribe(cursor)))
        })
    }

    /// Stops the run with this name at its next `.await`. Returns whether a run was in progress.
    ///
    /// Readers still receive every event that the run has published. A `GET` stream then ends with
    /// `done`, so its client does not reconnect. With `on_cut = "abort"`, which is the default for
    /// every other method, the response is aborted instead so that a partial answer does not look
    /// complete. In that case, the close reason is [`Failed`](crate::CloseReason::Failed). Values
    /// that the handler yields afterwards are not sent. [`Subscription::has_failed`] still returns
    /// `false`.
    ///
    /// If several processes share the engine that stores the topics, this method also stops runs
    /// that other processes are executing. In that case, this method returns as soon as the engine
    /// has stored the end of the run. The process that is executing the run stops it shortly
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is too long ([`HubError::NameTooLong`]). If an engine stores the
    /// topics, this method can also return the same errors as [`topic`](Self::topic).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the run may or may not be stopped. Without an engine, the future
    /// completes when it is first polled.
    pub async fn abort(&self, name: &str) -> Result<bool, HubError> {
        check_name(name, self.0.store.as_ref())?;
        if let Some(slot) = self.0.state().topics.get_mut(name) {
            match &slot.run {
                Run::Started(run) if !run.is_taken_over() => return Ok(run.abort()),
                // A producer that has panicked before it returned its future leaves this value.
                Run::Starting if slot.topic.is_finished() => return Ok(false),
                Run::Starting => {
                    slot.run = Run::Stopped;
                    return Ok(true);
                }
                Run::Stopped => return Ok(false),
                Run::None | Run::Started(_) | Run::Elsewhere { .. } => {}
            }
        }
        self.abort_elsewhere(name).await
    }

    /// Subscribes to a run, and starts it if necessary.
    async fn spawn_with<F, Fut, Kind>(
        &self,
        name: &str,
        cursor: Cursor,
        again: Again,
        producer: F,
    ) -> Result<Subscription<T>, HubError>
    where
        F: FnOnce(Topic<T>) -> Fut + Send,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
    {
        let producer = Box::new(|topic, _| -> Outcome {
            let run = producer(topic);
            Box::pin(async { run.await.outcome() })
        });
        let (subscription, _) = self.run(name, cursor, again, producer).await?;
        Ok(subscription)
    }
}
