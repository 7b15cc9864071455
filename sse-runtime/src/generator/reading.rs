//! [`Reading`]: the topics that a generator reads, whose ends decide how its stream ends.

use std::{mem, sync::Arc};

use crate::generator::{handoff::Handoff, run_failure::Failure};

/// The topics that the generator reads, and how those that it has read ended.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// The number of topics that are read and have not ended.
    reading: u32,
    /// One was dropped before its end.
    was_left: bool,
    /// One is finished: there will never be more of it.
    is_over: bool,
    /// The reader of one was too slow, and no reading has begun since.
    lags: bool,
    /// The failure of a run that is read: the stream ends with it.
    pub(crate) failure: Option<Arc<Failure>>,
}

/// A topic that the generator reads.
#[derive(Debug)]
pub(crate) struct Reading {
    handoff: Handoff,
    has_ended: bool,
}

impl Reading {
    pub(crate) fn end(&mut self, end: TopicEnd) {
        if mem::replace(&mut self.has_ended, true) {
            return;
        }
        let topics = &mut self.handoff.lock().topics;
        topics.reading -= 1;
        match end {
            TopicEnd::Over => topics.is_over = true,
            TopicEnd::Lagged => topics.lags = true,
        }
    }
}

impl Reading {
    /// The run of the topic has failed, or was stopped.
    #[cold]
    pub(crate) fn fails(&self, failure: Arc<Failure>) {
        let mut outgoing = self.handoff.lock();
        if !failure.is_stop || outgoing.aborts_when_cut() {
            outgoing.topics.failure.get_or_insert(failure);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.has_ended {
            let topics = &mut self.handoff.lock().topics;
            topics.reading -= 1;
            topics.was_left = true;
        }
    }
}

/// How the reading of a topic ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicEnd {
    /// The topic is finished.
    Over,
    /// The reader was overtaken: the client has to reconnect for what comes next.
    Lagged,
}

impl Topics {
    /// Begins the reading of one more topic.
    pub(crate) fn begin(&mut self, handoff: Handoff) -> Reading {
        self.reading += 1;
        self.lags = false;
        Reading {
            handoff,
            has_ended: false,
        }
    }

    /// How the topics end a stream whose generator has finished. The stream is over for good only if every topic is, and the
    /// generator has read each to its end.
    pub(crate) fn end(&self) -> Option<TopicEnd> {
        if self.lags {
            return Some(TopicEnd::Lagged);
        }
        let is_over = self.is_over && self.reading == 0 && !self.was_left;
        is_over.then_some(TopicEnd::Over)
    }
}
