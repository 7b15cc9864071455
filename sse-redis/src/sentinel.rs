//! [`Sentinels`]: asks the sentinels for the master's address.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion,
    RedisResult, aio::MultiplexedConnection, cmd,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    RedisError,
    config::Config,
    failure::is_reply,
    server::{self, Server},
};

/// The time within which a sentinel must reply, which includes connecting to it.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval at which the sentinels are asked whether there is another master.
const CHECK: Duration = Duration::from_secs(1);

/// The number of consecutive checks that must fail before a warning is logged. During a failover,
/// the sentinels disagree briefly.
const FAILED_CHECKS: u32 = 3;

/// The sentinels that monitor the master.
pub(crate) struct Sentinels {
    sentinels: Vec<Arc<Sentinel>>,
    master: Box<str>,
    /// The settings of the connections to the master, except for the address.
    server: ConnectionInfo,
    root_certificate: Option<Vec<u8>>,
}

struct Sentinel {
    client: Client,
    address: Box<str>,
    /// The connection, if one is open.
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// A sentinel's answer when it is asked for the master's address.
enum Answer {
    Master(ConnectionAddr),
    /// The sentinel does not know the master's name.
    Unknown,
    /// The sentinel has returned an error.
    Refused(String),
    Unreachable(String),
}

/// The answers of the sentinels.
#[derive(Default)]
struct Answers {
    /// The servers that the sentinels have named, and the number of sentinels that have named each.
    named: Vec<(ConnectionAddr, usize)>,
    /// Whether a sentinel does not know the master's name.
    is_unknown: bool,
    /// The address of a sentinel that has returned an error, and the error.
    refused: Option<(String, String)>,
    /// The errors of the connections to the other sentinels.
    unreachable: Vec<String>,
}

impl Sentinels {
    pub(crate) fn new(
        sentinels: &[ConnectionInfo],
        master: String,
        server: ConnectionInfo,
        root_certificate: Option<Vec<u8>>,
    ) -> Result<Self, RedisError> {
        let sentinel = |info: &ConnectionInfo| {
            let certificate = root_certificate.as_deref();
            Ok(Arc::new(Sentinel {
                client: server::client(info, ProtocolVersion::RESP2, certificate)?,
                address: server::address(info.addr()).into(),
                connection: Mutex::default(),
            }))
        };
        Ok(Self {
            sentinels: sentinels.iter().map(sentinel).collect::<Result<_, _>>()?,
            master: master.into(),
            server,
            root_certificate,
        })
    }

    /// Returns the addresses of the sentinels.
    pub(crate) fn addresses(&self) -> String {
        let addresses = self.sentinels.iter().map(|sentinel| &*sentinel.address);
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Returns the server that the sentinels name as the master. If they disagree, returns the
    /// server that most of them name, or an error if there is a tie.
    pub(crate) async fn find_master(&self, config: &Config) -> Result<Server, RedisError> {
        let mut answers = self.ask().await;
        answers.named.sort_by_key(|(_, count)| Reverse(*count));
        let host = match &*answers.named {
            [] => return Err(self.unanswered(config, answers)),
            [(_, first), (_, second), ..] if first == second => {
                let names = answers.named.iter().map(|(host, _)| server::address(host));
                let names = names.collect::<Vec<_>>().join(" and ");
                return Err(self.no_master(format!("the sentinels disagree, and name {names}")));
            }
            [(host, _), ..] => host,
        };
        let info = self.server.clone().set_addr(host.clone());
        Server::new(&info, self.root_certificate.as_deref())
    }

    /// Returns the error for a server that the sentinels name as the master, but that is a replica.
    pub(crate) fn replica_error(&self, address: &str) -> RedisError {
        self.no_master(format!("the sentinels name {address}, which is a replica"))
    }

    fn no_master(&self, message: String) -> RedisError {
        RedisError::NoMaster {
            name: self.master.to_string(),
            message,
        }
    }

    /// Returns the error if no sentinel names a server.
    fn unanswered(&self, config: &Config, answers: Answers) -> RedisError {
        match answers.refused {
            _ if answers.is_unknown => RedisError::UnknownMaster {
                name: self.master.to_string(),
                sentinels: self.addresses(),
            },
            Some((address, message)) => RedisError::Sentinel {
                address,
                message: config.without_password(message),
            },
            None => RedisError::SentinelsUnreachable {
                message: config.without_password(answers.unreachable.join("; ")),
            },
        }
    }

    /// Waits until a majority of the sentinels names a server other than `address` as the master,
    /// and returns the reason why the connections to `address` must be closed. A minority does not
    /// suffice, because it may have been cut off from the other sentinels before the failover.
    pub(crate) async fn replaced(&self, address: &str) -> String {
        let mut failed_checks = 0;
        loop {
            sleep(CHECK).await;
            let answers = self.ask().await;
            let Some(host) = answers.majority(self.sentinels.len()) else {
                failed_checks += 1;
                if failed_checks == FAILED_CHECKS {
                    tracing::warn!(
                        master = &*self.master,
                        sentinels = self.addresses(),
                        "no majority of sentinels agrees on the master, so a failover may be \
                         noticed late; check that the sentinels are running and reachable"
                    );
                }
                continue;
            };
            failed_checks = 0;
            let master = server::address(host);
            if master != address {
                return format!("according to the sentinels, {master} is now the master");
            }
        }
    }

    /// Asks all sentinels, and returns their answers as soon as a majority names the same server.
    async fn ask(&self) -> Answers {
        let mut asking = JoinSet::new();
        for sentinel in &self.sentinels {
            let (sentinel, master) = (Arc::clone(sentinel), self.master.clone());
            asking.spawn(async move {
                let answer = sentinel.ask(&master).await;
                (sentinel, answer)
            });
        }
        let mut answers = Answers::default();
        while let Some(Ok((sentinel, answer))) = asking.join_next().await {
            answers.add(&sentinel.address, answer);
            if answers.majority(self.sentinels.len()).is_some() {
                break;
            }
        }
        // Let the requests to slower sentinels continue, so that their connections are kept as
        // well.
        asking.detach_all();
        answers
    }
}

impl Sentinel {
    async fn ask(&self, master: &str) -> Answer {
        let asked = timeout(ASK_TIMEOUT, self.query(master)).await;
        let asked = asked.inspect_err(|_| self.keep(None));
        match asked {
            Ok(Ok(Some((host, port)))) => Answer::Master(self.master_at(host, port)),
            Ok(Ok(None)) => Answer::Unknown,
            Ok(Err(error)) if is_refusal(&error) => Answer::Refused(error.to_string()),
            Ok(Err(error)) => Answer::Unreachable(error.to_string()),
            Err(_) => Answer::Unreachable(format!("no reply within {ASK_TIMEOUT:?}")),
        }
    }

    /// Returns a master's address. Connections to the master use TLS if those to the sentinels do.
    fn master_at(&self, host: String, port: u16) -> ConnectionAddr {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            _ => ConnectionAddr::Tcp(host, port),
        }
    }

    /// Sends the query on the kept connection. If there is none, or if it has been lost, opens a
    /// new connection.
    async fn query(&self, master: &str) -> RedisResult<Option<(String, u16)>> {
        let mut query = cmd("SENTINEL");
        query.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let kept = self.connection().clone();
        if let Some(mut kept) = kept
            && let Ok(reply) = query.query_async(&mut kept).await
        {
            return Ok(reply);
        }
        self.keep(None);
        // The caller limits the time.
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let client = &self.client;
        let opened = client.get_multiplexed_async_connection_with_config(&settings);
        let mut opened = opened.await?;
        let reply = query.query_async(&mut opened).await?;
        self.keep(Some(opened));
        Ok(reply)
    }

    fn connection(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        let connection = self.connection.lock();
        connection.unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, connection: Option<MultiplexedConnection>) {
        *self.connection() = connection;
    }
}

impl Answers {
    fn add(&mut self, sentinel: &str, answer: Answer) {
        match answer {
            Answer::Master(host) => match self.named.iter_mut().find(|(named, _)| *named == host) {
                Some((_, count)) => *count += 1,
                None => self.named.push((host, 1)),
            },
            Answer::Unknown => self.is_unknown = true,
            Answer::Refused(message) => self.refused = Some((sentinel.to_owned(), message)),
            Answer::Unreachable(message) => {
                self.unreachable.push(format!("{sentinel}: {message}"));
            }
        }
    }

    /// Returns the server that more than half of `sentinels` sentinels name.
    fn majority(&self, sentinels: usize) -> Option<&ConnectionAddr> {
        let mut named = self.named.iter();
        let (host, _) = named.find(|(_, count)| count * 2 > sentinels)?;
        Some(host)
    }
}

/// Returns whether the error is a reply from the sentinel rather than a failure of the connection.
fn is_refusal(error: &redis::RedisError) -> bool {
    is_reply(error) || error.kind() == ErrorKind::AuthenticationFailed
}

#[cfg(test)]
mod tests {
    use redis::ConnectionAddr;

    use super::{Answer, Answers};

    #[test]
    fn majority_is_more_than_half_of_all_sentinels() {
        let [one, other] = [1, 2].map(|port| ConnectionAddr::Tcp("server".to_owned(), port));
        let mut answers = Answers::default();
        answers.add("a", Answer::Master(one.clone()));
        answers.add("b", Answer::Master(other));
        answers.add("c", Answer::Unknown);
        answers.add("d", Answer::Master(one.clone()));
        assert_eq!(answers.majority(3), Some(&one));
        // The fifth sentinel has not answered.
        assert_eq!(answers.majority(4), None);
        assert_eq!(answers.majority(5), None);
        answers.add("e", Answer::Master(one.clone()));
        assert_eq!(answers.majority(5), Some(&one));
    }
}
