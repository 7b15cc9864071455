//! [`Node`]: a server of `chat` or `ticker`, which may share its events with other servers.

use std::error::Error;

use serde::{Serialize, de::DeserializeOwned};
use sse_log::Log;
use sse_redis::Redis;
use sse_runtime::{Hub, topic::HubBuilder};

#[derive(Clone, Default, clap::Args)]
pub(crate) struct NodeArgs {
    /// The file or the Redis server in which to store the events, such as `events.redb` or
    /// `redis://127.0.0.1`. By default, they are lost when the program stops.
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) store: Option<String>,
    /// A name for this server, which the page shows.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// By default, a node has no name and stores its events in memory.
#[derive(Clone, Default)]
pub(crate) struct Node {
    store: Store,
    name: Option<String>,
}

#[derive(Clone, Default)]
enum Store {
    #[default]
    Memory,
    /// Events survive a restart.
    File(Log),
    /// Events survive a restart, and all nodes that use the same Redis server share them.
    Redis(Redis),
}

impl Node {
    pub(crate) async fn open(args: NodeArgs) -> Result<Self, Box<dyn Error>> {
        let store = match args.store.as_deref() {
            None => Store::Memory,
            Some(url) if url.contains("://") => Store::Redis(Redis::open(url).await?),
            Some(file) => Store::File(Log::open(file).await?),
        };
        Ok(Self {
            store,
            name: args.name,
        })
    }

    /// Creates a hub that keeps its topics in the store.
    pub(crate) fn hub<T>(&self, hub: HubBuilder<T>, prefix: &str) -> Hub<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        match &self.store {
            Store::Memory => hub.build(),
            Store::File(log) => hub.engine(log, prefix).build(),
            Store::Redis(redis) => hub.engine(redis, prefix).build(),
        }
    }

    /// Returns whether a load balancer should send new clients to this node. While this node cannot
    /// reach Redis, the load balancer should choose a node that can.
    pub(crate) fn is_healthy(&self) -> bool {
        match &self.store {
            Store::Redis(redis) => redis.is_healthy(),
            Store::Memory | Store::File(_) => true,
        }
    }

    /// Returns the name that the page shows, if any.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}
