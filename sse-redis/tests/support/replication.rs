//! Starts a master and its replicas.

use super::{
    proxy::Proxy,
    server::{IN_MEMORY, Server},
    until,
};

/// Starts a server that sends its data to a new replica immediately, without waiting for other
/// replicas.
pub async fn master() -> Server {
    Server::start(&[IN_MEMORY, &["--repl-diskless-sync-delay", "0"]].concat()).await
}

/// Starts a replica of the server on a port.
pub async fn replica_of(port: u16) -> Server {
    let port = port.to_string();
    let options = ["--repl-diskless-sync-delay", "0", "--replicaof"];
    let arguments = [IN_MEMORY, &options, &["127.0.0.1", &port]].concat();
    let replica = Server::start(&arguments).await;
    until("the replica is connected", async || {
        replica
            .info("replication", "master_link_status")
            .await
            .as_deref()
            == Some("up")
    })
    .await;
    replica
}

/// Starts a replica that reaches its master through a proxy.
pub async fn proxied_replica_of(master: &Server) -> (Server, Proxy) {
    let proxy = Proxy::start(master.port()).await;
    let replica = replica_of(proxy.port()).await;
    (replica, proxy)
}

/// Waits until the replica has received everything.
pub async fn replicated(master: &Server, replica: &Server) {
    until("the replica has caught up", async || {
        let offset = master.info("replication", "master_repl_offset").await;
        offset == replica.info("replication", "slave_repl_offset").await
    })
    .await;
}

/// Waits until sentinels have made the server a replica.
pub async fn demoted(server: &Server) {
    until("the server is a replica", async || {
        // The server closes all connections when it becomes a replica.
        let info: Result<String, _> = server.try_run(&["INFO", "replication"]).await;
        info.is_ok_and(|info| info.contains("role:slave"))
    })
    .await;
}
