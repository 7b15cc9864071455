//! The [`Backend`] implementation of [`Follower`].

use std::{
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
        OpenError,
        backend::{Backend, Encoded, Finishing, Publishing, Reader, StartAt},
        engine::{AppendError, Body, BoxFuture, End, Key, Kind, Place, Record, Stored},
        publish::PublishError,
    },
};

/// The maximum time that opening a topic waits for the engine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

impl<T: Send + Sync + 'static> Follower<T> {
    async fn append_end(&self, end: End) -> Result<(), PublishError> {
        let record = Record {
            key: Key::random(),
            kind: Kind::End,
            body: end.encode(),
        };
        match self.append(record).await {
            Ok(_) | Err(PublishError::Finished) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn append(&self, record: Record) -> Result<EventId, PublishError> {
        let key = record.key;
        let appending = self
            .node
            .engine
            .append(&self.name, record.clone(), self.keep);
        let appended = appending.await.map_err(|error| match error {
            AppendError::Unavailable(source) => PublishError::Unavailable { source },
            AppendError::Unknown(source) => PublishError::Unknown { key, source },
            AppendError::Fenced => PublishError::Fenced,
            AppendError::Ended => PublishError::Finished,
            AppendError::TooLarge { len, max } => PublishError::TooLarge { len, max },
        })?;
        let mark = Some(record.mark());
        let stored = Stored {
            number: appended.number,
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
        let position = Position::with_mark(appended.epoch, appended.number, mark);
        Ok(EventId::position(position))
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
            let Encoded { value, frame, key } = event;
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
            self.append(record).await
        })
    }

    fn opened(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async {
            let mut is_open = self.is_open.subscribe();
            let opening = is_open.wait_for(|is_open| *is_open);
            match timeout(OPEN_TIMEOUT, opening).await {
                Ok(_) => Ok(()),
                Err(_) => {
                    let error = self.state().error.clone();
                    Err(OpenError::TimedOut {
                        seconds: OPEN_TIMEOUT.as_secs(),
                        source: error.map(|error| error as Arc<_>),
                    })
                }
            }
        })
    }

    fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>> {
        Err(event)
    }

    fn subscribe(self: Arc<Self>, from: StartAt) -> Box<dyn Reader<T>> {
        let source = Arc::clone(&self);
        self.ring
            .subscribe_with(&from, Some((source, &|| self.ask())))
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

    fn finish(&self) -> Finishing<'_> {
        Box::pin(async {
            if self.ring.is_finished() {
                return Ok(());
            }
            self.append_end(End::Finished).await
        })
    }

    fn fail(&self, failure: Arc<Failure>) -> Finishing<'_> {
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
            self.append_end(end).await
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
