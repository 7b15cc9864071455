//! Subscriptions to the topics that are named in a client's id.

use std::{collections::BTreeSet, sync::Arc};

use super::{Hub, HubError, check_name, opened, resume_error::ResumeError, run::Again};
use crate::topic::{
    Cursor, Subscription, Topic,
    backend::Backend as _,
    engine::BoxFuture,
    merged::{self, Merged},
    ring::Ring,
};

/// Whether the topics belong to runs.
#[derive(Clone, Copy)]
enum Kind {
    Topics,
    Runs,
}

impl<T: Send + Sync + 'static> Hub<T> {
    /// Resumes the runs that are named in the client's id, usually a single one. Use this method if
    /// a client that reconnects sends nothing but its id. For example, a client of MCP (2025-11-25)
    /// starts a run with a `POST` and resumes it with a `GET`.
    ///
    /// By default, the ids of a run do not contain its name. Build the hub with
    /// [`named_ids`](super::HubBuilder::named_ids).
    ///
    /// ```
    /// use axum::http::HeaderMap;
    /// use axum::extract::State;
    /// use sse_runtime::{
    ///     Event, Hub, LastEventId, Start, Stream, Topic, sse_endpoint,
    ///     topic::{HubError, PublishError, ResumeError},
    /// };
    ///
    /// # fn session(_: &HeaderMap) -> String { "s".to_owned() }
    /// # fn request_id() -> u64 { 1 }
    /// # async fn next_word() -> Option<String> { None }
    /// #[sse_endpoint("/mcp", method = POST)]
    /// async fn call(
    ///     State(runs): State<Hub<String>>,
    ///     headers: HeaderMap,
    /// ) -> Result<impl Stream<Item = String>, HubError> {
    ///     let name = format!("{}/{}", session(&headers), request_id());
    ///     let run = runs.spawn(&name, Start::First, |topic| async move {
    ///         while let Some(word) = next_word().await {
    ///             topic.publish_with_retry(&word).await?;
    ///         }
    ///         Ok::<(), PublishError>(())
    ///     }).await?;
    ///     // The client can resume even if it loses its connection before the first word.
    ///     yield_!(Event::text("").id(run.position()));
    ///     yield_all!(run);
    /// }
    ///
    /// #[sse_endpoint("/mcp", events = "own")]
    /// async fn resume(
    ///     State(runs): State<Hub<String>>,
    ///     headers: HeaderMap,
    ///     last: LastEventId,
    /// ) -> Result<impl Stream<Item = String>, ResumeError> {
    ///     let own = format!("{}/", session(&headers));
    ///     let run = runs.resume_by_id(last, |name| name.starts_with(&own)).await?;
    ///     yield_all!(run);
    /// }
    ///
    /// let runs: Hub<String> = Hub::builder(|| Topic::builder().keep(10_000)).named_ids().build();
    /// ```
    ///
    /// # Authorization
    ///
    /// **A client can send any id**, so it can ask for any run. `may_read` receives a name in the
    /// id and must return whether the client may read that run. It is called for one name after
    /// another until it returns `false`, before the future is returned and before the hub looks for
    /// any of the runs. Names that are hard to guess are not enough, because ids end up in logs.
    ///
    /// # Runs that do not exist
    ///
    /// This method never starts a run and never creates a topic, so made-up names do not take up
    /// memory. If a run does not exist, or if the hub has already dropped it, the client receives a
    /// [`Gap`](crate::topic::Gap), as from [`spawn`](Self::spawn). If none of the runs exist, the
    /// stream then ends, and the client does not reconnect. With `events = "own"`, which sends no
    /// gaps, the response is aborted instead.
    ///
    /// # Errors
    ///
    /// Returns [`ResumeError::NoId`] if the client sent no id, [`ResumeError::NoNames`] if the id
    /// does not contain any names, and [`ResumeError::Forbidden`] if `may_read` returned `false`.
    /// [`ResumeError::Hub`] contains the same errors as [`subscribe`](Self::subscribe) returns.
    ///
    /// # Cancel safety
    ///
    /// See [`topic`](Self::topic).
    // The boxed future does not mention the arguments' types, so the compiler reports an argument of
    // the wrong type only once.
    pub fn resume_by_id(
        &self,
        cursor: impl Into<Cursor>,
        may_read: impl FnMut(&str) -> bool,
    ) -> BoxFuture<'_, Result<Subscription<T>, ResumeError>> {
        self.by_id(cursor.into(), may_read, Kind::Runs)
    }

    /// Like [`resume_by_id`](Self::resume_by_id), but for topics that do not belong to runs. The ids
    /// of [`subscribe`](Self::subscribe) always contain the topics' names. With
    /// [`named_ids`](super::HubBuilder::named_ids), the ids of the hub's other subscriptions contain
    /// them, too.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`resume_by_id`](Self::resume_by_id).
    ///
    /// # Cancel safety
    ///
    /// See [`topic`](Self::topic).
    pub fn subscribe_by_id(
        &self,
        cursor: impl Into<Cursor>,
        may_read: impl FnMut(&str) -> bool,
    ) -> BoxFuture<'_, Result<Subscription<T>, ResumeError>> {
        self.by_id(cursor.into(), may_read, Kind::Topics)
    }

    fn by_id(
        &self,
        cursor: Cursor,
        may_read: impl FnMut(&str) -> bool,
        kind: Kind,
    ) -> BoxFuture<'_, Result<Subscription<T>, ResumeError>> {
        let names = readable_names(&cursor, may_read);
        Box::pin(async move { self.subscribe_to_existing(&names?, cursor, kind).await })
    }

    async fn subscribe_to_existing(
        &self,
        names: &BTreeSet<String>,
        cursor: Cursor,
        kind: Kind,
    ) -> Result<Subscription<T>, ResumeError> {
        let Cursor {
            from,
            start,
            after_gap,
            is_resumed,
            ..
        } = cursor;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let escaped: Vec<String> = names.iter().map(|name| merged::escape(name)).collect();
        if !merged::fits(&escaped, self.0.store.is_some()) {
            return Err(HubError::TooManyNames.into());
        }
        let mut readers = Vec::new();
        for (name, from) in names.iter().zip(merged::split(&from, start, &names)) {
            let existing = match kind {
                Kind::Topics => self.existing_topic(name).await?,
                Kind::Runs => {
                    let run = self.existing_run(name, Again::Replay).await?;
                    run.map(|(topic, _)| topic)
                }
            };
            readers.push(match existing {
                Some(topic) => topic.backend.subscribe(from, after_gap),
                None => Arc::new(Ring::gone()).subscribe(from, after_gap),
            });
        }
        let merged = Merged::new(escaped.into_iter().zip(readers));
        Ok(Subscription::new(Box::new(merged), is_resumed))
    }

    /// Returns the topic with this name, if it exists. Does not create it.
    async fn existing_topic(&self, name: &str) -> Result<Option<Topic<T>>, HubError> {
        check_name(name, self.0.store.as_ref())?;
        let open = {
            let mut state = self.0.state();
            match state.topics.contains_key(name) {
                true => Some(self.lease(&mut state, name)?),
                false => None,
            }
        };
        if let Some(topic) = open {
            opened(&topic, name).await?;
            return Ok(Some(topic));
        }
        match &self.0.store {
            Some(store) if store.contains(name).await? => Ok(Some(self.topic(name).await?)),
            _ => Ok(None),
        }
    }
}

/// Returns the names of the topics in a client's id, if the client may read all of them.
///
/// The topics must not be looked up before this check. Otherwise, a client could find out whether a
/// topic that it may not read exists.
fn readable_names(
    cursor: &Cursor,
    may_read: impl FnMut(&str) -> bool,
) -> Result<BTreeSet<String>, ResumeError> {
    if !cursor.has_id() {
        return Err(ResumeError::NoId);
    }
    let names = merged::names(&cursor.from);
    if names.is_empty() {
        return Err(ResumeError::NoNames);
    }
    if !names.iter().map(String::as_str).all(may_read) {
        return Err(ResumeError::Forbidden);
    }
    Ok(names)
}
