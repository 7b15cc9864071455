//! An engine in memory with any number of topics. It delivers each record at once, and runs the
//! test's code in the middle of its methods.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sse_runtime::topic::engine::{
    AppendError, Appended, BoxFuture, Engine, Epoch, Feed, Keep, Kind, Page, Place, Record,
    RunOwner, Stored, Tail, Unreachable,
};
use tokio::sync::watch;

pub(crate) struct Fake(Arc<Inner>);

type Hook = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

struct Inner {
    topics: Mutex<HashMap<String, (Epoch, Vec<Stored>)>>,
    feed: Mutex<Option<Feed>>,
    pub(crate) is_down: AtomicBool,
    /// Whether appends are stored. While this is `false`, they wait.
    stores: watch::Sender<bool>,
    /// Whether requests for tails are answered. While this is `false`, they wait.
    answers: watch::Sender<bool>,
    /// Appends are stored in the order of their calls.
    turn: tokio::sync::Mutex<()>,
    reads: AtomicUsize,
    tails: AtomicUsize,
    /// Runs after each read has taken its snapshot of the log.
    after_read: Mutex<Option<Arc<Hook>>>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            topics: Mutex::default(),
            feed: Mutex::default(),
            is_down: AtomicBool::new(false),
            stores: watch::Sender::new(true),
            answers: watch::Sender::new(true),
            turn: tokio::sync::Mutex::new(()),
            reads: AtomicUsize::new(0),
            tails: AtomicUsize::new(0),
            after_read: Mutex::default(),
        }))
    }

    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn set_stores(&self, stores: bool) {
        self.0.stores.send_replace(stores);
    }

    pub(crate) fn set_answers(&self, answers: bool) {
        self.0.answers.send_replace(answers);
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn tails(&self) -> usize {
        self.0.tails.load(Ordering::SeqCst)
    }

    pub(crate) fn after_read(
        &self,
        hook: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        *lock(&self.0.after_read) = Some(Arc::new(Box::new(hook)));
    }

    pub(crate) fn feed(&self) -> Feed {
        lock(&self.0.feed).clone().unwrap()
    }

    /// Loses the newest records of a topic.
    pub(crate) fn lose(&self, topic: &str, count: usize) {
        let mut topics = lock(&self.0.topics);
        let records = &mut topics.get_mut(topic).unwrap().1;
        records.truncate(records.len() - count);
    }

    pub(crate) fn records(&self, topic: &str) -> Vec<Stored> {
        lock(&self.0.topics)
            .get(topic)
            .map_or(Vec::new(), |topic| topic.1.clone())
    }

    /// Appends a record, and delivers it.
    pub(crate) fn store(&self, topic: &str, record: Record) -> Result<Appended, AppendError> {
        let (appended, stored) = {
            let mut topics = lock(&self.0.topics);
            let (epoch, records) = entry(&mut topics, topic);
            if let Some(at) = records
                .iter()
                .position(|known| known.record.key == record.key)
            {
                return Ok(Appended {
                    epoch: *epoch,
                    previous: place_before(records, at),
                    number: at as u64 + 1,
                    mark: records[at].mark,
                    is_new: false,
                });
            }
            if records
                .last()
                .is_some_and(|last| last.record.kind == Kind::End)
            {
                return Err(AppendError::Ended);
            }
            let previous = place_before(records, records.len());
            let stored = Stored {
                number: previous.number + 1,
                mark: record.key.mark(fastrand::u64(..)),
                record,
                age: Duration::ZERO,
            };
            records.push(stored.clone());
            let appended = Appended {
                epoch: *epoch,
                previous,
                number: stored.number,
                mark: stored.mark,
                is_new: true,
            };
            (appended, stored)
        };
        self.feed()
            .record(topic, appended.epoch, appended.previous, stored);
        Ok(appended)
    }

    /// Appends a record that the feed loses.
    pub(crate) fn store_silently(&self, topic: &str, record: Record) {
        let mut topics = lock(&self.0.topics);
        let (_, records) = entry(&mut topics, topic);
        let number = records.len() as u64 + 1;
        records.push(Stored {
            number,
            mark: record.key.mark(fastrand::u64(..)),
            record,
            age: Duration::ZERO,
        });
    }

    fn reach(&self) -> Result<(), Unreachable> {
        match self.0.is_down.load(Ordering::SeqCst) {
            true => Err(Unreachable("down".into())),
            false => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entry<'a>(
    topics: &'a mut HashMap<String, (Epoch, Vec<Stored>)>,
    topic: &str,
) -> &'a mut (Epoch, Vec<Stored>) {
    topics
        .entry(topic.to_owned())
        .or_insert_with(|| (Epoch::random(), Vec::new()))
}

fn place_before(records: &[Stored], index: usize) -> Place {
    index
        .checked_sub(1)
        .map_or(Place::START, |at| records[at].place())
}

impl Engine for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn start(&self, feed: Feed) {
        *lock(&self.0.feed) = Some(feed);
    }

    fn watch<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async { self.reach() })
    }

    fn unwatch(&self, _: &str) {}

    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        _: Keep,
        _: Option<RunOwner>,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        let stored = Self(Arc::clone(&self.0));
        let topic = topic.to_owned();
        // The record is stored even if the future is dropped.
        let task = tokio::spawn(async move {
            let _turn = stored.0.turn.lock().await;
            let _ = stored.0.stores.subscribe().wait_for(|stores| *stores).await;
            stored
                .reach()
                .map_err(|error| AppendError::Unavailable(Box::new(error)))?;
            stored.store(&topic, record)
        });
        Box::pin(async move {
            let stored = task.await;
            stored.unwrap_or_else(|error| Err(AppendError::Unknown(error.into())))
        })
    }

    fn tails<'a>(
        &'a self,
        topics: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<Tail>>, Unreachable>> {
        Box::pin(async {
            self.0.tails.fetch_add(1, Ordering::SeqCst);
            let mut answers = self.0.answers.subscribe();
            let _ = answers.wait_for(|answers| *answers).await;
            self.reach()?;
            let known = lock(&self.0.topics);
            let tail = |topic: &&str| {
                let (epoch, records) = known.get(*topic)?;
                let newest = place_before(records, records.len());
                Some(Tail {
                    epoch: *epoch,
                    newest,
                })
            };
            Ok(topics.iter().map(tail).collect())
        })
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        after: u64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Page, Unreachable>> {
        Box::pin(async move {
            self.reach()?;
            self.0.reads.fetch_add(1, Ordering::SeqCst);
            let page = {
                let mut topics = lock(&self.0.topics);
                let (epoch, records) = entry(&mut topics, topic);
                let first = usize::try_from(after)
                    .unwrap_or(usize::MAX)
                    .min(records.len());
                let mut size = 0;
                let taken = records[first..].iter().take_while(|stored| {
                    let fits = size < bytes;
                    size += stored.record.body.len();
                    fits
                });
                Page {
                    tail: Tail {
                        epoch: *epoch,
                        newest: place_before(records, records.len()),
                    },
                    before: place_before(records, first),
                    records: taken.cloned().collect(),
                }
            };
            let hook = lock(&self.0.after_read).clone();
            if let Some(hook) = hook {
                hook().await;
            }
            Ok(page)
        })
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").finish_non_exhaustive()
    }
}
