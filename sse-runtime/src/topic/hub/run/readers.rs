//! Reports to the engine which topics have readers in this process.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};

use super::{Hub, Run};
use crate::topic::{
    engine::Unreachable,
    hub::{Inner, state::State},
};

/// The maximum number of topics per report.
const TOPICS_PER_REPORT: usize = 500;

impl<T: Send + Sync + 'static> Hub<T> {
    /// Starts a task that reports the readers of this process for as long as the hub has topics, so
    /// that other processes do not abandon a run that has readers here. Does nothing if such a task
    /// is already running, or if runs are never abandoned.
    pub(in crate::topic::hub) fn keep_reporting(&self, state: &mut State<T>) {
        if self.0.limits.abandon_after.is_none() {
            return;
        }
        let is_running = |task: &tokio::task::AbortHandle| !task.is_finished();
        if state.reporting.as_ref().is_some_and(is_running) {
            return;
        }
        let (Some(leases), Ok(runtime)) = (self.run_leases(), Handle::try_current()) else {
            return;
        };
        let reporting = report_readers(Arc::downgrade(&self.0), leases.ttl() / 4);
        state.reporting = Some(runtime.spawn(reporting).abort_handle());
    }

    async fn report_readers(&self, topics: &[String]) -> Result<(), Unreachable> {
        let Some(leases) = self.run_leases() else {
            return Ok(());
        };
        for topics in topics.chunks(TOPICS_PER_REPORT) {
            leases.report_readers(topics).await?;
        }
        Ok(())
    }
}

async fn report_readers<T: Send + Sync + 'static>(hub: Weak<Inner<T>>, every: Duration) {
    loop {
        sleep(every).await;
        let Some(hub) = hub.upgrade().map(Hub) else {
            return;
        };
        let Some(store) = &hub.0.store else { return };
        let read: Vec<String> = {
            let mut state = hub.0.state();
            if state.topics.is_empty() {
                // The next topic starts another task.
                state.reporting = None;
                return;
            }
            let slots = state.topics.iter();
            let is_read_here = slots.filter(|(_, slot)| {
                let backend = &slot.topic.backend;
                let is_own = matches!(slot.run, Run::Started(_));
                !is_own && backend.unread_since().is_none() && !backend.is_finished()
            });
            is_read_here
                .map(|(name, _)| store.stored_name(name))
                .collect()
        };
        if let Err(error) = hub.report_readers(&read).await {
            tracing::debug!(%error, "failed to report the readers of runs");
        }
    }
}
