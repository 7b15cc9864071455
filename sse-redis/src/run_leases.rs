//! Implements [`RunLeases`] for a Redis server.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use sse_runtime::topic::engine::{
    BoxFuture, Claim, Claimed, Renewed, RunLeases, RunOwner, Unreachable,
};
use tokio::time::{Instant, timeout};

use crate::{
    engine::{RedisEngine, flag, milliseconds},
    failure::Failure,
    scripts::Script,
    wire,
};

/// The time limit for each request.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time after the expiry of its lease during which a resumable run can be continued, but not
/// ended.
const RESUME_TIME: Duration = Duration::from_secs(60);

impl RedisEngine {
    /// Runs a script. The first of `keys` is reported in errors.
    async fn run_script<T>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[Bytes],
        decode: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, Unreachable> {
        let config = &self.shared.config;
        let connections = self.shared.connected(PATIENCE).await?;
        let mut commands = connections.commands.clone();
        let key = || keys.first().cloned().unwrap_or_default();
        let start = Instant::now();
        let reply = timeout(PATIENCE, script.run(&mut commands, keys, arguments)).await;
        if start.elapsed() > config.run_ttl / 3 {
            // The replies to other processes, which may own runs, are likely to be late as well.
            self.shared.set_not_writable();
        }
        let reply = reply.map_err(|_| Failure::no_reply(config, PATIENCE))?;
        let reply = reply.map_err(|error| self.failure(&connections, &error, &key()))?;
        Ok(decode(&reply).ok_or_else(|| Failure::Malformed { key: key() })?)
    }

    fn run_keys(&self, topic: &str) -> [String; 3] {
        let config = &self.shared.config;
        [config.log(topic), config.run(topic), config.leases()]
    }

    fn ttl_argument(&self) -> Bytes {
        milliseconds(self.shared.config.run_ttl)
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn bytes_of(owner: RunOwner) -> Bytes {
    Bytes::copy_from_slice(&owner.to_bytes())
}

impl RunLeases for RedisEngine {
    fn ttl(&self) -> Duration {
        self.shared.config.run_ttl
    }

    fn claim<'a>(
        &'a self,
        topic: &'a str,
        claim: Claim,
    ) -> BoxFuture<'a, Result<Claimed, Unreachable>> {
        Box::pin(async move {
            let claiming = async |can_expire| {
                let arguments = [
                    text(topic),
                    bytes_of(claim.owner),
                    self.ttl_argument(),
                    flag(claim.starts),
                    flag(claim.resumes),
                    flag(can_expire),
                    milliseconds(RESUME_TIME),
                    flag(claim.adopts),
                ];
                let (script, keys) = (&self.shared.scripts.claim, self.run_keys(topic));
                self.run_script(script, &keys, &arguments, wire::claim_reply)
                    .await
            };
            // While the server is unavailable or rejects all writes, no lease can be renewed. After
            // such an outage, the owners must have time to renew their leases before other
            // processes take over their runs. A suspended server may execute a request much later,
            // so first ask whether the lease has expired, and take over the run only if the server
            // has replied in time.
            if let Some(claimed) = claiming(false).await? {
                return Ok(claimed);
            }
            if !self.shared.is_writable_for(self.shared.config.run_ttl) {
                return Ok(Claimed::Held);
            }
            Ok(claiming(true).await?.unwrap_or(Claimed::Held))
        })
    }

    fn renew<'a>(
        &'a self,
        topic: &'a str,
        owner: RunOwner,
        is_resumable: bool,
    ) -> BoxFuture<'a, Result<Renewed, Unreachable>> {
        Box::pin(async move {
            let arguments = [
                text(topic),
                bytes_of(owner),
                self.ttl_argument(),
                flag(is_resumable),
            ];
            let script = &self.shared.scripts.renew;
            self.run_script(script, &self.run_keys(topic), &arguments, wire::renew_reply)
                .await
        })
    }

    fn release<'a>(
        &'a self,
        topic: &'a str,
        owner: RunOwner,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async move {
            let arguments = [text(topic), bytes_of(owner)];
            let script = &self.shared.scripts.release;
            self.run_script(script, &self.run_keys(topic), &arguments, |_| Some(()))
                .await
        })
    }

    fn expired(&self, skipped: usize) -> BoxFuture<'_, Result<Vec<String>, Unreachable>> {
        Box::pin(async move {
            let keys = [self.shared.config.leases()];
            let script = &self.shared.scripts.expired;
            let arguments = [self.ttl_argument(), skipped.to_string().into()];
            let expired = self
                .run_script(script, &keys, &arguments, wire::expired_reply)
                .await?;
            // See `claim`. The script runs in any case, because it also detects that writes are
            // rejected.
            let can_expire = self.shared.is_writable_for(self.shared.config.run_ttl);
            Ok(if can_expire { expired } else { Vec::new() })
        })
    }

    fn report_readers<'a>(
        &'a self,
        topics: &'a [String],
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async move {
            let config = &self.shared.config;
            let keys: Vec<_> = topics.iter().map(|topic| config.run(topic)).collect();
            let script = &self.shared.scripts.report;
            self.run_script(script, &keys, &[], |_| Some(())).await
        })
    }
}
