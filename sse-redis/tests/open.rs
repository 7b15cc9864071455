//! Tests servers and URLs that cannot be used.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use sse_redis::{Redis, RedisError};
use sse_runtime::{Start, Topic, topic::PublishError};
use support::{
    open_topic,
    output::Output,
    presence::{join_in_runtime, open_brief, until_members},
    publish_all, read_all,
    server::{IN_MEMORY, Server, free_port},
    take, values,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const PASSWORD: &str = "hunter2-and-more";

async fn open_error(url: &str) -> RedisError {
    let error = Redis::open(url).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    error
}

#[tokio::test]
async fn invalid_url_is_rejected() {
    for url in [
        "",
        "localhost",
        "http://localhost",
        "redis://",
        "redis://localhost:port",
        "redis://:hunter2-and-more/x@localhost",
        "redis://localhost/hunter2-and-more",
    ] {
        let error = open_error(url).await;
        assert!(matches!(error, RedisError::InvalidUrl), "{url}: {error}");
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn tls_url_requires_the_feature() {
    for url in ["rediss://localhost", "rediss+sentinel://localhost/name"] {
        let error = open_error(url).await;
        assert!(matches!(error, RedisError::TlsNotEnabled), "{error}");
    }
}

#[tokio::test]
async fn refused_connection_is_reported() {
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", free_port());
    let error = open_error(&url).await;
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn wrong_password_is_reported() {
    let server = Server::start(&[IN_MEMORY, &["--requirepass", "right"]].concat()).await;
    let port = server.port();
    for user in ["", "default:wrong-", "unknown:", ":"] {
        let url = match user {
            "" => format!("redis://127.0.0.1:{port}"),
            user => format!("redis://{user}{PASSWORD}@127.0.0.1:{port}"),
        };
        let error = open_error(&url).await;
        assert!(
            matches!(error, RedisError::Authentication { .. }),
            "{error}"
        );
    }
    let url = format!("redis://:right@127.0.0.1:{port}");
    let redis = Redis::open(url).await.unwrap();
    open_topic(&redis, "numbers")
        .await
        .publish(&1)
        .await
        .unwrap();
    let debug = format!(
        "{redis:?} {:?} {:?}",
        AsRef::as_ref(&redis),
        Redis::builder()
    );
    assert!(!debug.contains("right"), "{debug}");
}

/// The commands of the rule that the documentation recommends.
const COMMANDS: &str = "+eval +evalsha +time +xadd +xrange +xrevrange +xlen +xtrim \
    +hset +hget +hmget +hdel +hkeys +hlen +hscan +rename +del +zadd +zrem +zscore +zrangebyscore +pttl +pexpire +persist \
    +publish +subscribe +unsubscribe +ping +info";

#[tokio::test]
async fn documented_rule_is_sufficient_and_necessary() {
    let documentation = include_str!("../src/lib.rs");
    let words = COMMANDS.split_whitespace();
    assert!(words.clone().all(|word| documentation.contains(word)));
    assert!(documentation.contains("~sse:* resetchannels &sse:* -@all"));
    let server = Server::in_memory().await;
    let (password, rules) = (
        format!(">{PASSWORD}"),
        ["~sse:*", "resetchannels", "&sse:*", "-@all"],
    );
    let set_user = async |extra: &[&str]| {
        let user = ["ACL", "SETUSER", "app", "reset", "on", &password];
        let commands: Vec<_> = COMMANDS.split_whitespace().collect();
        let () = server
            .run(&[&user[..], &rules, &commands, extra].concat())
            .await;
    };
    let url = format!("redis://app:{PASSWORD}@127.0.0.1:{}", server.port());
    set_user(&[]).await;
    let redis = Redis::open(&url).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..3).await;
    numbers.publish_with_key(7, &3).await.unwrap();
    numbers.publish_with_key(7, &3).await.unwrap();
    numbers.finish().await.unwrap();
    assert_eq!(take(&mut reader, 4).await, [0, 1, 2, 3]);
    // The scripts that remove a failed node's members must be allowed as well.
    let (failing, guard) = join_in_runtime(url.clone(), vec!["ada".to_owned()]).await;
    let presence = open_brief(&url).await;
    until_members(&presence, &["ada"]).await;
    failing.shutdown_background();
    until_members(&presence, &[]).await;
    drop((guard, presence));
    let denied: Vec<redis::Value> = server.run(&["ACL", "LOG"]).await;
    assert!(denied.is_empty(), "{denied:?}");
    drop((redis, numbers, reader));

    for command in COMMANDS.split_whitespace() {
        let name = &command[1..];
        set_user(&[&format!("-{name}")]).await;
        let error = open_error(&url).await;
        let is_named = |command: &str| command.eq_ignore_ascii_case(name);
        assert!(
            matches!(&error, RedisError::NotAllowed { command, .. } if is_named(command)),
            "{name}: {error}"
        );
    }
    set_user(&["resetkeys", "~other:*"]).await;
    let error = open_error(&url).await;
    assert!(matches!(error, RedisError::NotAllowed { .. }), "{error}");
    set_user(&["resetchannels", "&other:*"]).await;
    let error = open_error(&url).await;
    assert!(matches!(error, RedisError::NotAllowed { .. }), "{error}");
}

#[tokio::test]
async fn revoked_permission_makes_publish_unavailable() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let numbers = Topic::builder().keep(1).open(&redis, "numbers").await;
    let numbers: Topic<u64> = numbers.unwrap();
    numbers.publish(&0).await.unwrap();
    let () = server.run(&["ACL", "SETUSER", "default", "-xadd"]).await;
    let published = numbers.publish(&1).await;
    assert!(
        matches!(published, Err(PublishError::Unavailable { .. })),
        "{published:?}"
    );
    let () = server
        .run(&["ACL", "SETUSER", "default", "+xadd", "-xtrim"])
        .await;
    // The events are stored, so the errors must not hide that.
    publish_all(&numbers, 1..5).await;
    let denied: Vec<HashMap<String, redis::Value>> = server.run(&["ACL", "LOG"]).await;
    let denied = format!("{denied:?}");
    assert!(denied.contains("xtrim"), "{denied}");
    let len = async || server.run::<u64>(&["XLEN", "sse:log:numbers"]).await;
    assert_eq!(len().await, 6, "five records and the start");
    let () = server.run(&["ACL", "SETUSER", "default", "+xtrim"]).await;
    publish_all(&numbers, [5]).await;
    assert_eq!(values(&read_all(&numbers).await), [5]);
    assert_eq!(len().await, 2, "the newest record and the one before it");
}

#[tokio::test]
async fn cluster_is_rejected() {
    let server = Server::start(&["--cluster-enabled", "yes"]).await;
    let error = open_error(&server.url()).await;
    assert!(matches!(error, RedisError::Cluster { .. }), "{error}");
}

#[tokio::test]
async fn old_server_is_rejected() {
    for (hello, version) in [
        (
            "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `hunter2-and-more`, \r\n",
            "5 or earlier",
        ),
        ("%0\r\n", "6.0.16"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://:{PASSWORD}@{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let len = client.read(&mut buffer).await.unwrap();
            assert!(len > 0);
            client.write_all(hello.as_bytes()).await.unwrap();
            if client.read(&mut buffer).await.is_ok_and(|len| len > 0) {
                let info = "redis_version:6.0.16\r\nrole:master\r\n";
                let reply = format!("${}\r\n{info}\r\n", info.len()).repeat(4);
                client.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        let error = open_error(&url).await;
        let is_expected = |found: &str| found == version;
        assert!(
            matches!(&error, RedisError::TooOld { version, .. } if is_expected(version)),
            "{error}"
        );
        serving.abort();
    }
}

#[tokio::test]
async fn server_that_does_not_respond_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = open_error(&format!("redis://{}", listener.local_addr().unwrap())).await;
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn unix_socket_can_be_used() {
    let arguments = [IN_MEMORY, &["--unixsocket", "redis.sock"]].concat();
    let server = Server::start(&arguments).await;
    let url = format!("redis+unix://{}/redis.sock", server.path().display());
    let redis = Redis::open(url).await.unwrap();
    let numbers: Topic<u64> = Topic::open(&redis, "numbers").await.unwrap();
    publish_all(&numbers, 0..3).await;
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2]);
}

#[tokio::test]
async fn policy_that_evicts_topics_causes_a_warning() {
    let server = Server::in_memory().await;
    let (output, _guard) = Output::collect();
    let () = server.run(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    let _redis = Redis::open(server.url()).await.unwrap();
    assert!(!output.text().contains("maxmemory-policy"));
    let () = server
        .run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await;
    let _redis = Redis::open(server.url()).await.unwrap();
    let warned = output.text();
    assert!(warned.contains("maxmemory-policy"), "{warned}");
}
