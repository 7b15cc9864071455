//! [`Reading`]: a topic read by a generator. How the generator's topics end determines how its
//! stream ends.

use std::{mem, sync::Arc};

use crate::generator::{handoff::Handoff, run_failure::Failure};

/// The topics that the generator is reading, and the outcomes of those it has finished reading.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// The number of topics still being read.
    reading: u32,
    /// Whether a [`Reading`] was dropped before its topic ended.
    was_left: bool,
    /// Whether any topic has finished.
    is_over: bool,
    /// Whether a reader was too slow and no other [`Reading`] has begun since.
    lags: bool,
    /// The failure of a run read by the generator. The stream ends with this failure.
    pub(crate) failure: Option<Arc<Failure>>,
}

/// A topic being read by the generator.
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
    /// Records that the topic's run failed or was stopped. A stopped run counts as failed only if
    /// the endpoint aborts responses that end early.
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

/// The outcome of reading a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicEnd {
    /// The topic is finished.
    Over,
    /// The reader was too slow. The client must reconnect to receive further events.
    Lagged,
}

impl Topics {
    /// Registers a topic that the generator is starting to read.
    pub(crate) fn begin(&mut self, handoff: Handoff) -> Reading {
        self.reading += 1;
        self.lags = false;
        Reading {
            handoff,
            has_ended: false,
        }
    }

    /// Returns how the stream ends once its generator has finished, or `None` if the topics do not
    /// determine this. The stream is permanently over only if every topic has finished and the
    /// generator has read each one to its end.
    pub(crate) fn end(&self) -> Option<TopicEnd> {
        if self.lags {
            return Some(TopicEnd::Lagged);
        }
        let is_over = self.is_over && self.reading == 0 && !self.was_left;
        is_over.then_some(TopicEnd::Over)
    }
}
