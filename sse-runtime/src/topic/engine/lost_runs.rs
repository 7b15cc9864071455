//! Ends the runs whose processes have stopped.

use std::{sync::Weak, time::Duration};

use tokio::time::sleep;

use super::{
    AppendError, Claim, Claimed, End, Engine, Keep, Key, Kind, Record, RunLeases, RunOwner,
    Unreachable, node::Inner,
};

/// Checks for expired leases until the node is dropped, and ends the runs to which they belong. All
/// processes do this, so that a run is ended even if none of them has readers for it.
pub(super) async fn end_lost_runs(node: Weak<Inner>) {
    loop {
        let Some(ttl) = ttl(&node) else { return };
        // The delay is random, because processes that check at different times rarely compete for
        // the same run.
        sleep((ttl / 4).mul_f64(0.75 + fastrand::f64() / 4.0)).await;
        let Some(inner) = node.upgrade() else { return };
        let engine = &*inner.engine;
        let Some(leases) = engine.run_leases() else {
            return;
        };
        // Skip the runs that cannot be ended yet, so that they do not hide the others.
        let mut skipped = 0;
        loop {
            let topics = match leases.expired(skipped).await {
                Ok(topics) if topics.is_empty() => break,
                Ok(topics) => topics,
                Err(error) => {
                    tracing::debug!(%error, "failed to check the leases of runs");
                    break;
                }
            };
            for topic in topics {
                match end_if_lost(engine, leases, &topic).await {
                    Ok(true) => {
                        inner.instruments.run_lost();
                        continue;
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(topic, %error, "failed to end a lost run; trying again");
                    }
                }
                skipped += 1;
            }
        }
    }
}

fn ttl(node: &Weak<Inner>) -> Option<Duration> {
    Some(node.upgrade()?.engine.run_leases()?.ttl())
}

/// Ends a run if its lease has expired. Returns whether this call has ended it.
async fn end_if_lost(
    engine: &dyn Engine,
    leases: &dyn RunLeases,
    topic: &str,
) -> Result<bool, AppendError> {
    let owner = RunOwner::random();
    let claim = Claim {
        owner,
        starts: false,
        adopts: true,
        resumes: false,
    };
    let claimed = leases.claim(topic, claim).await;
    let claimed = claimed.map_err(|Unreachable(source)| AppendError::Unavailable(source))?;
    if claimed != Claimed::TakenOver {
        return Ok(false);
    }
    tracing::warn!(
        topic,
        "the process that was executing a run has stopped; ending the run"
    );
    let record = Record {
        key: Key::random(),
        kind: Kind::End,
        body: End::Lost.encode(),
    };
    match engine.append(topic, record, Keep::ALL, Some(owner)).await {
        Ok(_) => Ok(true),
        Err(AppendError::Ended | AppendError::Fenced) => Ok(false),
        Err(error) => Err(error),
    }
}
