//! The [`Backend`] implementation of [`Follower`].

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{Follower, Received, Source};
use crate::{
    event::{frame::EncodeError, id::EventId, position::Position},
    generator::run_failure::Failure,
    lifecycle::close_reason::CloseReason,
    topic::{
        OpenError, Start,
        backend::{Backend, Encoded, Finishing, Publishing, Reader, StartAt},
        engine::{AppendError, Body, BoxFuture, End, Key, Kind, Place, Record, RunOwner, Stored},
        publish::PublishError,
    },
};

/// The maximum time that opening a topic waits for the engine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

impl<T: Send + Sync + 'static> Follower<T> {
    async fn append_end(&self, end: End, owner: Option<RunOwner>) -> Result<(), PublishError> {
        let record = Record {
            key: Key::random(),
            kind: Kind::End,
            body: end.encode(),
        };
        match self.append(record, owner).await {
            Ok(_) | Err(PublishError::Finished) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn append(
        &self,
        record: Record,
        owner: Option<RunOwner>,
    ) -> Result<EventId, PublishError> {
        let key = record.key;
        let appending = self
            .node
            .engine
            .append(&self.name, record.clone(), self.keep, owner);
        let start = Instant::now();
        let appended = appending.await;
        let is_stored = matches!(appended, Ok(_) | Err(AppendError::Ended));
        self.node.instruments.published(start.elapsed(), is_stored);
        let appended = appended.map_err(|error| match error {
            AppendError::Unavailable(source) => PublishError::Unavailable { source },
            AppendError::Unknown(source) => PublishError::Unknown { key, source },
            AppendError::Fenced => PublishError::Fenced,
            AppendError::Ended => PublishError::Finished,
            AppendError::TooLarge { len, max } => PublishError::TooLarge { len, max },
        })?;
        let stored = Stored {
            number: appended.number,
            mark: appended.mark,
            record,
            age: Duration::ZERO,
        };
        // The feed may already have delivered the record.
        if appended.is_new {
            self.take(Received {
                epoch: appended.epoch,
                previous: appended.previous,
                stored,
                source: Source::Confirmation,
            });
        }
        let position = Position::with_mark(appended.epoch, appended.number, Some(appended.mark));
        Ok(EventId::position(position))
    }
}

impl<T: Send + Sync + 'static> Follower<T> {
    /// Waits for the engine, but not longer than [`OPEN_TIMEOUT`].
    async fn in_time(&self, waiting: impl Future<Output = ()>) -> Result<(), OpenError> {
        timeout(OPEN_TIMEOUT, waiting).await.map_err(|_| {
            let error = self.state().error.clone();
            OpenError::TimedOut {
                seconds: OPEN_TIMEOUT.as_secs(),
                source: error.map(|error| error as Arc<_>),
            }
        })
    }
}

/// Removes the value of an event from `publishing` when dropped.
struct InFlight<'a, T: Send + Sync + 'static> {
    follower: &'a Follower<T>,
    key: Key,
}

impl<T: Send + Sync + 'static> Drop for InFlight<'_, T> {
    fn drop(&mut self) {
        // Drop the value only after releasing the lock.
        let value = self.follower.publishing().remove(&self.key);
        drop(value);
    }
}

impl<T: Send + Sync + 'static> Backend<T> for Follower<T> {
    fn publish(&self, event: Encoded<T>) -> Publishing<'_> {
        Box::pin(async move {
            let Encoded {
                value,
                frame,
                key,
                owner,
            } = event;
            // With a key, the event may have been stored before the end. The engine knows.
            if key.is_none() && self.ring.is_finished() {
                return Err(PublishError::Finished);
            }
            let json = (self.codec.encode)(&value).map_err(EncodeError)?;
            let record = Record {
                key: key.unwrap_or_else(Key::random),
                kind: Kind::Event,
                body: Body::encode(&frame, &json),
            };
            let key = record.key;
            let replaced = self.publishing().insert(key, (record.body.clone(), value));
            drop(replaced);
            let _in_flight = InFlight {
                follower: self,
                key,
            };
            self.append(record, owner).await
        })
    }

    fn opened(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(self.in_time(async {
            // The sender is not dropped as long as `self` exists.
            let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
        }))
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(self.in_time(async {
            let (mut repaired, ticket) = (self.repaired.subscribe(), self.ask());
            let _ = repaired.wait_for(|repaired| *repaired >= ticket).await;
        }))
    }

    fn holds_everything(&self) -> bool {
        self.ring.before_oldest() == Place::START
    }

    fn ended_elsewhere(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            loop {
                let mut ended = pin!(self.ended_elsewhere.notified());
                ended.as_mut().enable();
                {
                    let state = self.state();
                    if state.end.is_some() && state.is_run_over {
                        return;
                    }
                }
                ended.await;
            }
        })
    }

    fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>> {
        Err(event)
    }

    fn subscribe(self: Arc<Self>, from: StartAt, after_gap: Option<Start>) -> Box<dyn Reader<T>> {
        let source = Arc::clone(&self);
        self.ring
            .subscribe_with(&from, after_gap, Some((source, &|| self.ask())))
    }

    fn subscribers(&self) -> usize {
        self.ring.subscribers()
    }

    fn unread_since(&self) -> Option<Instant> {
        self.ring.unread_since()
    }

    fn held_bytes(&self) -> usize {
        self.ring.held_bytes()
    }

    fn count_in(&self, sum: &Arc<AtomicUsize>) {
        self.ring.count_in(sum);
    }

    fn finish(&self, owner: Option<RunOwner>) -> Finishing<'_> {
        Box::pin(async move {
            if self.ring.is_finished() {
                return Ok(());
            }
            self.state().is_finishing = true;
            self.append_end(End::Finished, owner).await
        })
    }

    fn fail(&self, failure: Arc<Failure>, owner: Option<RunOwner>) -> Finishing<'_> {
        let end = match &*failure {
            failure if failure.is_stop => End::Stopped,
            failure if failure.reason == CloseReason::ProducerLost => End::Lost,
            _ => End::Failed,
        };
        Box::pin(async move {
            if self.ring.is_finished() {
                return Ok(());
            }
            // The readers receive the end when the engine has ordered it. Events that are still
            // being published may come first.
            self.state().failing = Some((end, failure));
            self.append_end(end, owner).await
        })
    }

    fn is_new(&self) -> bool {
        let newest = self.state().newest;
        newest.is_none_or(|tail| tail.newest == Place::START)
    }

    fn is_finished(&self) -> bool {
        self.ring.is_finished()
    }
}
