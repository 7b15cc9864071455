//! [`Sentinels`]: sentinels that monitor a master during a test.

use super::{server::Server, until};

/// The name by which the sentinels know the master.
pub const NAME: &str = "mymaster";

pub struct Sentinels {
    pub servers: Vec<Server>,
}

/// The settings of the sentinels.
#[derive(Clone, Copy)]
pub struct Settings {
    pub count: usize,
    /// The number of replicas that the sentinels must find before a test begins.
    pub replicas: usize,
    /// The time in milliseconds after which the sentinels reconfigure a replica that replicates
    /// from an address other than the master's. They repeat a failed failover after twice this
    /// time.
    pub failover_timeout: u32,
}

/// Three sentinels, and a master with one replica.
pub const THREE: Settings = Settings {
    count: 3,
    replicas: 1,
    failover_timeout: 3000,
};

/// A single sentinel, and a master without replicas.
pub const ONE: Settings = Settings {
    count: 1,
    replicas: 0,
    failover_timeout: 3000,
};

impl Sentinels {
    /// Starts sentinels that monitor the master on a port, and waits until they know each other and
    /// the replicas.
    pub async fn start(port: u16, settings: Settings) -> Self {
        let Settings {
            count,
            replicas,
            failover_timeout,
        } = settings;
        let quorum = count / 2 + 1;
        let configuration = format!(
            "sentinel monitor {NAME} 127.0.0.1 {port} {quorum}\n\
             sentinel down-after-milliseconds {NAME} 1000\n\
             sentinel failover-timeout {NAME} {failover_timeout}\n"
        );
        let mut servers = Vec::new();
        for _ in 0..count {
            let sentinel = Server::sentinel(&configuration, &[]).await;
            sentinel.hurry().await;
            servers.push(sentinel);
        }
        let sentinels = Self { servers };
        let (others, replicas) = ((count - 1).to_string(), replicas.to_string());
        for sentinel in &sentinels.servers {
            until(
                "the sentinels know each other and the replicas",
                async || {
                    sentinel.master("num-other-sentinels").await == others
                        && sentinel.master("num-slaves").await == replicas
                },
            )
            .await;
        }
        sentinels
    }

    pub fn url(&self) -> String {
        let host = |sentinel: &Server| format!("127.0.0.1:{}", sentinel.port());
        let hosts: Vec<_> = self.servers.iter().map(host).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }
}

impl Server {
    /// Shortens the sentinels' intervals, which are otherwise between one and ten seconds.
    /// Sentinels before version 7.0 ignore this. Sentinels demote an unexpected master after four
    /// publish periods, so this time must suffice for a failover.
    pub async fn hurry(&self) {
        for (period, milliseconds) in [
            ("INFO-PERIOD", "200"),
            ("PING-PERIOD", "200"),
            ("ASK-PERIOD", "200"),
            ("PUBLISH-PERIOD", "500"),
        ] {
            let command = ["SENTINEL", "DEBUG", period, milliseconds];
            let _ = self.try_run::<redis::Value>(&command).await;
        }
    }

    /// Returns a field of what a sentinel knows about the master.
    pub async fn master(&self, field: &str) -> String {
        let fields: Vec<String> = self.run(&["SENTINEL", "MASTER", NAME]).await;
        let mut fields = fields.chunks(2);
        let found = fields.find(|pair| pair[0] == field);
        found.unwrap_or_else(|| panic!("the field {field} is missing"))[1].clone()
    }
}
