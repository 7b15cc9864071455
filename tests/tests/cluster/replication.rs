//! A master with a replica.

use crate::redis_servers::{
    proxy::Proxy,
    server::{IN_MEMORY, Program, Server},
    until,
};

/// Starts a server that sends its data to a replica without waiting for further replicas.
pub(crate) async fn start_master(program: &str) -> Server {
    let arguments = [IN_MEMORY, &["--repl-diskless-sync-delay", "0"]].concat();
    Server::start_program(&Program::new(program), &arguments).await
}

/// Starts a replica that reaches its master through a proxy.
pub(crate) async fn start_replica(program: &str, master: &Server) -> (Server, Proxy) {
    let proxy = Proxy::start(master.port()).await;
    let port = proxy.port().to_string();
    let replica = start_master(program).await;
    let () = replica.run(&["REPLICAOF", "127.0.0.1", &port]).await;
    until("the replica is connected", async || {
        let status = replica.info("replication", "master_link_status").await;
        status.as_deref() == Some("up")
    })
    .await;
    (replica, proxy)
}

/// Makes the replica a master.
pub(crate) async fn promote(replica: &Server) {
    let () = replica.run(&["REPLICAOF", "NO", "ONE"]).await;
}
