//! Reads a topic's log, and compares it with the ring.

use std::{
    mem,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Buffer, Follower, Source, State,
    apply::{Relation, marks_differ},
};
use crate::topic::engine::{Backoff, Page, Place, Stored, Tail, Unreachable};

/// The approximate size of a page read from the log, in bytes.
const PAGE: usize = 1024 * 1024;

/// The time limit for each read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The minimum interval between reads that readers trigger. Without it, clients could overload the
/// engine by sending made-up ids.
const READER_INTERVAL: Duration = Duration::from_millis(100);

/// The delays between attempts to repair a topic.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// The next step of a repair that has read a page.
enum Step {
    Done,
    /// The log has more records.
    ReadMore,
    /// The ring has caught up with the log, but the feed may have skipped a record since the read
    /// began.
    ReadAgain,
    /// The page is empty, although the log has more records.
    Retry,
    /// The ring contains records that the log does not.
    FindFork,
}

impl<T: Send + Sync + 'static> Follower<T> {
    pub(super) fn start_repair(&self) {
        self.node.instruments.repair_started();
        self.node.repair(Box::pin(repair(Weak::clone(&self.this))));
    }

    /// Reads the log until the ring has caught up with the log's newest record.
    async fn read_to_end(&self) -> Result<(), Unreachable> {
        let engine = &self.node.engine;
        if !self.is_watched.load(Ordering::Acquire) {
            in_time(engine.watch(&self.name)).await?;
            self.is_watched.store(true, Ordering::Release);
        }
        self.wait_for_reader_interval().await;
        loop {
            let (after, asked) = {
                let mut state = self.state();
                state.is_suspect = false;
                state.is_waiting = false;
                // Discard the records received so far. The engine stores a record before the feed
                // delivers it, so if the read does not find one of these records, the engine has
                // lost it.
                state.repairing = Some(Buffer::default());
                (
                    state.newest.map_or(0, |tail| tail.newest.number),
                    state.asked,
                )
            };
            let page = in_time(engine.read(&self.name, after, PAGE)).await?;
            match self.apply_page(after, page, asked) {
                Step::Done => return Ok(()),
                Step::ReadMore => {}
                Step::ReadAgain => self.wait_for_reader_interval().await,
                Step::Retry => {
                    return Err(Unreachable(
                        "the engine returned an empty page although the topic has more records"
                            .into(),
                    ));
                }
                Step::FindFork => self.find_fork().await?,
            }
        }
    }

    /// If a reader has requested a repair, waits until [`READER_INTERVAL`] has passed since the last
    /// such read.
    async fn wait_for_reader_interval(&self) {
        let next = {
            let mut state = self.state();
            if state.asked <= self.ring.checked() {
                return;
            }
            let now = Instant::now();
            let next = state
                .read_for_reader
                .map_or(now, |last| last + READER_INTERVAL);
            state.read_for_reader = Some(next.max(now));
            state.is_waiting = true;
            self.apply_buffered(&mut state);
            next
        };
        sleep_until(next).await;
    }

    fn apply_page(&self, after: u64, page: Page, asked: u64) -> Step {
        let mut state = self.state();
        let state = &mut *state;
        let Page {
            tail,
            before,
            records,
        } = page;
        let newest = match &mut state.newest {
            Some(newest) if newest.epoch == tail.epoch => newest,
            newest => {
                self.ring.rebase(tail.epoch);
                state.end = None;
                let newest = newest.insert(Tail {
                    epoch: tail.epoch,
                    newest: Place::START,
                });
                if after > 0 {
                    return Step::ReadMore;
                }
                newest
            }
        };
        let place = &mut newest.newest;
        let differs = before.number == place.number && marks_differ(before, *place);
        // Nothing follows the end of a topic, so if the log continues after it, the engine has
        // lost the end.
        let is_past_end = state.end.is_some() && tail.newest.number > place.number;
        let is_behind = tail.newest.number < place.number || before.number < place.number;
        if is_behind || differs || is_past_end {
            return Step::FindFork;
        }
        if before.number > place.number {
            // The log no longer contains the records between these two places.
            self.ring.skip_to(before);
            *place = before;
        }
        let is_empty = records.is_empty();
        for stored in records {
            self.apply(state, stored);
        }
        let place = state.newest.map_or(Place::START, |tail| tail.newest);
        if place.number < tail.newest.number || marks_differ(place, tail.newest) {
            return if is_empty {
                Step::Retry
            } else {
                Step::ReadMore
            };
        }
        self.apply_buffered(state);
        state.repairing = None;
        // The ring contains every record that the engine had when the read began. Do not wait until the
        // state is `Live`: on a busy topic, the feed may overtake every read.
        self.ring.set_checked(asked);
        self.repaired.send_replace(asked);
        state.error = None;
        self.is_open.send_replace(true);
        if state.is_suspect {
            state.repairing = Some(Buffer::default());
            return Step::ReadAgain;
        }
        Step::Done
    }

    /// Applies the records received since the last read began.
    fn apply_buffered(&self, state: &mut State) {
        let buffered = state.repairing.as_mut().map(mem::take).unwrap_or_default();
        for received in buffered.records {
            match self.relation(state, &received) {
                Relation::Next => self.apply(state, received.stored),
                Relation::Unclear if received.source == Source::Feed => state.is_suspect = true,
                Relation::Known | Relation::Unclear => {}
            }
        }
    }

    /// Finds the newest record that the ring and the log have in common, and removes all later
    /// records from the ring.
    async fn find_fork(&self) -> Result<(), Unreachable> {
        let engine = &self.node.engine;
        let mut common = self.ring.before_oldest();
        let mut is_first = true;
        loop {
            let page = in_time(engine.read(&self.name, common.number, PAGE)).await?;
            let mut state = self.state();
            let state = &mut *state;
            let Some(newest) = state.newest.as_mut() else {
                return Ok(());
            };
            if newest.epoch != page.tail.epoch {
                return Ok(());
            }
            let oldest = self.ring.before_oldest();
            if oldest.number > common.number {
                // Events became too old while the page was read. They no longer tell whether the
                // log contains them.
                common = oldest;
                is_first = true;
                continue;
            }
            let known = |place: Place| match state.end {
                Some(end) if end.number == place.number => end.mark,
                _ => self.ring.mark_at(place.number),
            };
            if is_first
                && (page.before.number != common.number || marks_differ(page.before, common))
            {
                let is_known = page.before.mark.is_some() && known(page.before) == page.before.mark;
                if !is_known {
                    // The log contains none of the ring's records.
                    self.ring.refill();
                    newest.newest = Place::START;
                    state.end = None;
                    return Ok(());
                }
                common = page.before;
            }
            is_first = false;
            let records = page.records.iter().map(Stored::place);
            let matching = records
                .take_while(|place| known(*place) == place.mark)
                .last();
            let is_whole = matching == page.records.last().map(Stored::place);
            common = matching.unwrap_or(common);
            if is_whole && common.number < page.tail.newest.number && !page.records.is_empty() {
                continue;
            }
            newest.newest = common;
            match state.end {
                // The log still contains everything. It lacked the end only for a while.
                Some(end) if end == common && page.tail.newest == end => return Ok(()),
                _ => state.end = None,
            }
            if common == oldest && common != Place::START && self.ring.newest() != oldest {
                // All of the ring's events are lost, but the log may contain older events that were
                // evicted from the ring. Read them again, so that new readers receive the newest
                // events that remain.
                self.ring.refill();
                newest.newest = Place::START;
                return Ok(());
            }
            let kept = self.ring.cut(Some(common.number));
            if kept.number > common.number {
                newest.newest = kept;
            }
            return Ok(());
        }
    }
}

/// Repairs a topic's ring. If the engine cannot be reached, tries again after a delay.
async fn repair<T: Send + Sync + 'static>(follower: Weak<Follower<T>>) {
    let mut backoff = RETRY;
    loop {
        let Some(follower) = follower.upgrade() else {
            return;
        };
        let Err(error) = follower.read_to_end().await else {
            return;
        };
        tracing::debug!(topic = &*follower.name, %error, "failed to read a topic; trying again");
        follower.node.instruments.read_failed();
        follower.state().error = Some(Arc::new(error));
        drop(follower);
        backoff.wait().await;
    }
}

async fn in_time<R>(
    reading: impl Future<Output = Result<R, Unreachable>>,
) -> Result<R, Unreachable> {
    let read = timeout(READ_TIMEOUT, reading).await;
    read.unwrap_or_else(|elapsed| Err(Unreachable(elapsed.into())))
}
