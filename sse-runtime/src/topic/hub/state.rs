//! [`State`]: a hub's topics.

use std::{collections::HashMap, sync::Arc};

use tokio::task::AbortHandle;

use super::{
    run::Run,
    unused::{Unused, UnusedKey},
};
use crate::topic::{Topic, lease::Usage};

pub(super) struct State<T> {
    pub(super) topics: HashMap<String, Slot<T>>,
    /// The unused topics that are finished, longest unused first. The other unused topics are in
    /// `unfinished`.
    pub(super) finished: Unused,
    pub(super) unfinished: Unused,
    /// The number for the next [`UnusedKey`]. These numbers distinguish topics that became unused
    /// at the same instant.
    pub(super) next: u64,
    /// The task that reports the topics that have readers, if any.
    pub(super) reporting: Option<AbortHandle>,
    /// Whether a task is sweeping the unused topics.
    pub(super) is_swept: bool,
}

pub(super) struct Slot<T> {
    pub(super) topic: Topic<T>,
    pub(super) usage: Arc<Usage>,
    /// The topic's key in `finished` or `unfinished`, or `None` if the topic is in neither.
    pub(super) unused: Option<UnusedKey>,
    pub(super) run: Run,
    /// Held while a request decides whether to start the run.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            topics: HashMap::new(),
            finished: Unused::new(),
            unfinished: Unused::new(),
            next: 0,
            reporting: None,
            is_swept: false,
        }
    }
}
