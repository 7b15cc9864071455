//! Implements [`Members`] for a Redis server.

use bytes::Bytes;
use redis::Value;
use sse_runtime::topic::{
    Key,
    engine::{
        BoxFuture, EventTemplate, Keep, MemberList, Members, MembersUpdate, NodeLease, Sweep,
        Unreachable,
    },
};

use crate::{
    engine::{MAX_MESSAGE_BODY, READ_PATIENCE, RedisEngine, count, flag, limits, milliseconds},
    failure::Failure,
    scripts::Script,
    wire,
};

/// The number of members that one call of the script `members_sweep` checks. The server processes
/// no other commands during the call, so this number is small.
const PAGE: u64 = 200;

impl RedisEngine {
    /// Runs a script on the members of a presence.
    async fn run(
        &self,
        script: &Script,
        topic: &str,
        arguments: &[Bytes],
    ) -> Result<Value, Failure> {
        let connections = self.shared.connected(READ_PATIENCE).await?;
        let config = &self.shared.config;
        let keys = [
            config.members(topic),
            config.log(topic),
            config.index(topic),
        ];
        let mut commands = connections.commands.clone();
        let reply = script.run(&mut commands, &keys, arguments).await;
        reply.map_err(|error| match error.to_string().contains("NOMEMBERS") {
            true => Failure::NotMembers {
                key: config.members(topic),
            },
            false => self.failure(&connections, &error, &config.log(topic)),
        })
    }

    /// Returns the arguments that the scripts `members_update` and `members_sweep` have in common.
    fn arguments(&self, topic: &str, keep: Keep) -> Vec<Bytes> {
        let [events, bytes, age] = limits(keep);
        let (joined, left) = (EventTemplate::JOINED, EventTemplate::LEFT);
        vec![
            wire::new_epoch().to_string().into(),
            events,
            bytes,
            age,
            self.shared.config.channel(topic).into(),
            count(MAX_MESSAGE_BODY),
            joined.frame.into(),
            joined.value.into(),
            left.frame.into(),
            left.value.into(),
            // The keys of the events are derived from this random key.
            Key::random().to_string().into(),
        ]
    }

    async fn update(&self, topic: &str, update: MembersUpdate<'_>) -> Result<NodeLease, Failure> {
        let mut arguments = self.arguments(topic, update.keep);
        arguments.extend([
            update.node.to_owned().into(),
            count(update.number),
            count(update.confirmed),
            milliseconds(update.ttl),
            flag(update.is_last),
        ]);
        for (member, is_present) in update.changes {
            arguments.extend([member.clone().into(), flag(*is_present)]);
        }
        let script = &self.shared.scripts.members_update;
        let reply = self.run(script, topic, &arguments).await?;
        let lease = || match &*texts(&reply)? {
            [status, expired @ ..] if status == "valid" => Some(NodeLease::Valid {
                expired: expired.to_vec(),
            }),
            [status] if status == "lost" => Some(NodeLease::Lost),
            _ => None,
        };
        lease().ok_or_else(|| self.malformed(topic))
    }

    async fn sweep(&self, topic: &str, sweep: Sweep, keep: Keep) -> Result<Option<Sweep>, Failure> {
        let mut arguments = self.arguments(topic, keep);
        arguments.extend([sweep.cursor.unwrap_or_default().into(), count(PAGE)]);
        arguments.extend(sweep.nodes.into_iter().map(Bytes::from));
        let script = &self.shared.scripts.members_sweep;
        let reply = self.run(script, topic, &arguments).await?;
        let reply = texts(&reply).ok_or_else(|| self.malformed(topic))?;
        Ok(reply.split_first().map(|(cursor, nodes)| Sweep {
            nodes: nodes.to_vec(),
            cursor: Some(cursor.clone()),
        }))
    }

    async fn list(&self, topic: &str) -> Result<MemberList, Failure> {
        let script = &self.shared.scripts.members_list;
        let reply = self.run(script, topic, &[]).await?;
        list_reply(&reply).ok_or_else(|| self.malformed(topic))
    }

    fn malformed(&self, topic: &str) -> Failure {
        Failure::Malformed {
            key: self.shared.config.members(topic),
        }
    }
}

fn texts(reply: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| String::from_utf8(wire::bytes(value)?.to_vec()).ok();
    wire::array(reply)?.iter().map(text).collect()
}

/// Decodes a reply of the script `members_list`.
fn list_reply(reply: &Value) -> Option<MemberList> {
    let [id, key, members] = wire::array(reply)? else {
        return None;
    };
    let tail = match wire::bytes(id)? {
        b"" => None,
        _ => Some(wire::tail(id, key)?),
    };
    let members = wire::array(members)?.iter();
    Some(MemberList {
        tail,
        members: members
            .map(|member| wire::bytes(member).map(<[u8]>::to_vec))
            .collect::<Option<_>>()?,
    })
}

impl Members for RedisEngine {
    fn update<'a>(
        &'a self,
        topic: &'a str,
        update: MembersUpdate<'a>,
    ) -> BoxFuture<'a, Result<NodeLease, Unreachable>> {
        Box::pin(async move { Ok(self.update(topic, update).await?) })
    }

    fn sweep<'a>(
        &'a self,
        topic: &'a str,
        sweep: Sweep,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Option<Sweep>, Unreachable>> {
        Box::pin(async move { Ok(self.sweep(topic, sweep, keep).await?) })
    }

    fn list<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<MemberList, Unreachable>> {
        Box::pin(async move { Ok(self.list(topic).await?) })
    }
}
