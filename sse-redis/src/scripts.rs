//! [`Scripts`]: the Lua scripts that read and write the logs and the members of presences.

use bytes::Bytes;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection, cmd};

/// The scripts.
pub(crate) struct Scripts {
    pub(crate) append: Script,
    pub(crate) read: Script,
    pub(crate) tails: Script,
    pub(crate) claim: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
    pub(crate) expired: Script,
    pub(crate) report: Script,
    pub(crate) members_update: Script,
    pub(crate) members_sweep: Script,
    pub(crate) members_list: Script,
    pub(crate) allowed: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        const SHARED: &str = include_str!("scripts/shared.lua");
        const APPEND: &str = include_str!("scripts/append.lua");
        const MEMBERS: &str = include_str!("scripts/members.lua");
        let script = |code: &str| Script::new([SHARED, code].concat());
        // Wrap the script `append` in a function whose parameters shadow the globals `KEYS` and
        // `ARGV`.
        let append = ["local function append(KEYS, ARGV)\n", APPEND, "end\n"].concat();
        let members = |code: &str| script(&[&append, MEMBERS, code].concat());
        Self {
            append: script(APPEND),
            read: script(include_str!("scripts/read.lua")),
            tails: script(include_str!("scripts/tails.lua")),
            claim: script(include_str!("scripts/claim.lua")),
            renew: script(include_str!("scripts/renew.lua")),
            release: script(include_str!("scripts/release.lua")),
            expired: script(include_str!("scripts/expired.lua")),
            report: script(include_str!("scripts/report.lua")),
            members_update: members(include_str!("scripts/members_update.lua")),
            members_sweep: members(include_str!("scripts/members_sweep.lua")),
            members_list: script(include_str!("scripts/members_list.lua")),
            allowed: Script::new(include_str!("scripts/allowed.lua").to_owned()),
        }
    }
}

pub(crate) struct Script {
    code: String,
    hash: String,
}

impl Script {
    fn new(code: String) -> Self {
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Runs the script. Sends the code only if the server does not know the script yet.
    pub(crate) async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &[String],
        arguments: &[Bytes],
    ) -> RedisResult<Value> {
        let known = command("EVALSHA", &self.hash, keys, arguments);
        match known.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let new = command("EVAL", &self.code, keys, arguments);
                new.query_async(connection).await
            }
            result => result,
        }
    }
}

fn command(name: &str, script: &str, keys: &[String], arguments: &[Bytes]) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(keys.len()).arg(keys);
    for argument in arguments {
        command.arg(&**argument);
    }
    command
}
