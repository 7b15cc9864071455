//! Opens the connections, and checks that the server can store topics.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, RedisResult, ServerErrorKind, Value,
    aio::{MultiplexedConnection, PubSubSink, PubSubStream},
    cmd,
};
use tokio::{
    sync::{Mutex, Notify},
    time::timeout,
};

use crate::{
    RedisError,
    config::Config,
    failure::is_reply,
    server::Server,
    shared::{Connections, Shared},
};

/// The time limit for opening the connections. Checking the user's rights has the same limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The oldest supported version.
const OLDEST: (u32, u32) = (6, 2);

/// The open connections of a new session.
pub(crate) struct Opened {
    pub(crate) connections: Connections,
    pub(crate) subscriptions: PubSubSink,
    pub(crate) messages: PubSubStream,
}

/// Opens the connections, and checks the server's version and role. If the sentinels name a
/// different master in the meantime, connects to that server instead.
pub(crate) async fn connect(config: &Config) -> Result<Opened, RedisError> {
    in_time(config, async {
        loop {
            let server = config.find_server().await?;
            tokio::select! {
                opened = connect_to(config, &server) => return opened,
                _ = config.replaced(&server.address) => {}
            }
        }
    })
    .await
}

async fn connect_to(config: &Config, server: &Server) -> Result<Opened, RedisError> {
    let classified = |error: redis::RedisError| classify(config, &error);
    let lost = Arc::new(Notify::new());
    let mut commands = open(server, &lost).await.map_err(classified)?;
    check_server(config, &mut commands).await?;
    let appends = match config.replicas {
        0 => None,
        _ => {
            let appends = open(server, &lost).await.map_err(classified)?;
            Some((appends, Arc::new(Mutex::new(()))))
        }
    };
    let pubsub = server.pubsub.get_async_pubsub().await;
    let (subscriptions, messages) = pubsub.map_err(classified)?.split();
    let connections = Connections {
        commands,
        appends,
        lost,
    };
    Ok(Opened {
        connections,
        subscriptions,
        messages,
    })
}

async fn in_time<T>(
    config: &Config,
    opening: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    let opened = timeout(CONNECT_TIMEOUT, opening).await;
    opened.unwrap_or_else(|elapsed| {
        Err(RedisError::Unreachable {
            address: config.address().to_string(),
            source: elapsed.into(),
        })
    })
}

/// Opens a connection for commands, which notifies `lost` when it is closed.
async fn open(server: &Server, lost: &Arc<Notify>) -> RedisResult<MultiplexedConnection> {
    let lost = Arc::clone(lost);
    let on_push = move |info: PushInfo| {
        if info.kind == PushKind::Disconnection {
            lost.notify_one();
        }
        Ok::<_, ()>(())
    };
    // The callers limit the time themselves.
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(on_push);
    let client = &server.commands;
    client
        .get_multiplexed_async_connection_with_config(&settings)
        .await
}

/// Checks that the server is supported, and logs a warning if it may evict a topic's log.
async fn check_server(
    config: &Config,
    commands: &mut MultiplexedConnection,
) -> Result<(), RedisError> {
    let info = redis::pipe()
        .cmd("INFO")
        .arg("server")
        .cmd("INFO")
        .arg("replication")
        .cmd("INFO")
        .arg("cluster")
        .cmd("INFO")
        .arg("memory")
        .query_async::<Vec<String>>(commands)
        .await
        .map_err(|error| classify(config, &error))?
        .concat();
    let address = || config.address().to_string();
    let version = field(&info, "redis_version").unwrap_or("unknown");
    if parse_version(version).is_none_or(|version| version < OLDEST) {
        return Err(RedisError::TooOld {
            address: address(),
            version: version.to_owned(),
        });
    }
    if field(&info, "cluster_enabled") == Some("1") {
        return Err(RedisError::Cluster { address: address() });
    }
    if !is_master(&info) {
        return Err(config.replica_error());
    }
    let policy = field(&info, "maxmemory_policy").unwrap_or_default();
    if policy.starts_with("allkeys") && field(&info, "maxmemory") != Some("0") {
        tracing::warn!(
            address = &*config.address(),
            policy,
            "Redis may evict topics; set `maxmemory-policy` to `noeviction` or `volatile-lru`"
        );
    }
    Ok(())
}

/// Returns whether the server is a master, according to the reply to `INFO replication`.
pub(crate) fn is_master(info: &str) -> bool {
    field(info, "role") == Some("master")
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Checks that the user is allowed to call all commands that the engine needs.
pub(crate) async fn check_rights(
    shared: &Shared,
    mut opened: Opened,
) -> Result<Opened, RedisError> {
    let config = &shared.config;
    let denied = |command: &str, message: &str| RedisError::NotAllowed {
        address: config.address().to_string(),
        command: command.to_owned(),
        message: config.without_password(message.to_owned()),
    };
    let refused = |command: &str, error: &redis::RedisError| match is_denied(error) {
        true => denied(command, &error.to_string()),
        false => classify(config, error),
    };
    let (key, channel) = config.probes();
    let mut commands = opened.connections.commands.clone();
    in_time(config, async {
        for command in ["EVAL", "EVALSHA"] {
            // If the user is allowed to call `EVALSHA`, the server replies with a different error,
            // because no script has this hash.
            let mut probe = cmd(command);
            match command {
                "EVAL" => probe.arg("return 1").arg(0),
                _ => probe.arg("0".repeat(40)).arg(0),
            };
            let reply = probe.query_async::<Value>(&mut commands).await;
            if let Err(error) = reply
                && is_denied(&error)
            {
                return Err(denied(command, &error.to_string()));
            }
        }
        let probe = &shared.scripts.allowed;
        let (keys, arguments) = ([key], [channel.clone().into()]);
        let reply = probe.run(&mut commands, &keys, &arguments).await;
        let reply = reply.map_err(|error| classify(config, &error))?;
        let reply = redis::from_redis_value::<Vec<String>>(reply);
        let reply = reply.map_err(|error| classify(config, &error.into()))?;
        if let [command, message] = &*reply {
            return Err(denied(command, message));
        }
        if let Some((appends, _)) = &mut opened.connections.appends {
            let mut wait = cmd("WAIT");
            let wait = wait.arg(0).arg(1).query_async::<Value>(appends).await;
            if let Err(error) = wait {
                return Err(refused("WAIT", &error));
            }
        }
        let pubsub = &mut opened.subscriptions;
        if let Err(error) = pubsub.subscribe(&channel).await {
            return Err(refused("SUBSCRIBE", &error));
        }
        // If the reply to a `PING` is an error, the client returns it as an `Ok` value.
        let pong = pubsub.ping::<Value>().await;
        if let Err(error) = pong.and_then(Value::extract_error) {
            return Err(refused("PING", &error));
        }
        if let Err(error) = pubsub.unsubscribe(&channel).await {
            return Err(refused("UNSUBSCRIBE", &error));
        }
        Ok(opened)
    })
    .await
}

fn is_denied(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

/// Converts an error that was returned while the connections were opened.
fn classify(config: &Config, error: &redis::RedisError) -> RedisError {
    let address = config.address().to_string();
    let message = config.without_password(error.to_string());
    let is_authentication = [
        "WRONGPASS",
        "NOAUTH",
        "invalid password",
        "no password is set",
    ]
    .iter()
    .any(|known| message.contains(known));
    match error.kind() {
        ErrorKind::AuthenticationFailed => RedisError::Authentication { address },
        _ if is_authentication => RedisError::Authentication { address },
        ErrorKind::RESP3NotSupported => RedisError::TooOld {
            address,
            version: "5 or earlier".to_owned(),
        },
        _ if is_denied(error) => RedisError::NotAllowed {
            command: denied_command(&message).unwrap_or("a command").to_owned(),
            address,
            message,
        },
        _ if is_reply(error) => RedisError::Server { address, message },
        _ => RedisError::Unreachable {
            address,
            source: message.into(),
        },
    }
}

/// Returns the name of the command in a message such as "this user has no permissions to run the
/// 'info' command".
fn denied_command(message: &str) -> Option<&str> {
    message.split('\'').nth(1)
}
