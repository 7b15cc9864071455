//! [`Url`]: the URL of a server, or of the sentinels that know the server's address.

use redis::{ConnectionInfo, IntoConnectionInfo as _};

use crate::RedisError;

pub(crate) enum Url {
    Server(ConnectionInfo),
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        /// The master's name in the sentinels' configuration.
        master: String,
        /// The settings of the connections to the master. The address is a placeholder.
        server: ConnectionInfo,
    },
}

impl Url {
    pub(crate) fn parse(url: &str) -> Result<Self, RedisError> {
        let tls_schemes = ["rediss:", "valkeys:", "rediss+sentinel:"];
        let is_tls = tls_schemes.iter().any(|scheme| url.starts_with(scheme));
        if is_tls && !cfg!(feature = "tls") {
            return Err(RedisError::TlsNotEnabled);
        }
        let parsed = match url.split_once("+sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => sentinels(scheme, rest),
            _ => info(url).map(Self::Server),
        };
        parsed.ok_or(RedisError::InvalidUrl)
    }
}

/// Parses `[user:password@]host:port,host:port/master-name[/database]`.
fn sentinels(scheme: &str, rest: &str) -> Option<Url> {
    let (authority, path) = rest.split_once('/')?;
    // A URL parser would treat any of these characters as the end of the host.
    if authority.contains(['?', '#', '\\']) {
        return None;
    }
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), authority),
    };
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    // These are the characters that Sentinel's documentation allows.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = !master.is_empty() && master.bytes().all(is_allowed);
    if !is_name || !database.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let sentinel = |host: &str| info(&format!("{scheme}://{}", with_port(host)));
    let sentinels = hosts.split(',').map(sentinel).collect::<Option<Vec<_>>>()?;
    let (host, _) = hosts.split_once(',').unwrap_or((hosts, ""));
    let server = info(&format!("{scheme}://{credentials}{host}/{database}"))?;
    Some(Url::Sentinels {
        sentinels,
        master: master.to_owned(),
        server,
    })
}

/// Appends the default port of sentinels if the host has no port. An IPv6 address contains colons
/// and is enclosed in brackets, so a colon inside the brackets does not precede a port.
fn with_port(host: &str) -> String {
    let (_, end) = host.rsplit_once(']').unwrap_or(("", host));
    match end.split_once(':') {
        None => format!("{host}:26379"),
        Some((_, "")) => format!("{host}26379"),
        Some(_) => host.to_owned(),
    }
}

/// The client's error is not returned, because it may contain parts of the URL, and therefore the
/// password.
fn info(url: &str) -> Option<ConnectionInfo> {
    url.into_connection_info().ok()
}

#[cfg(test)]
mod tests {
    use redis::ConnectionInfo;

    use super::Url;
    use crate::{RedisError, server::address};

    fn parse(url: &str) -> (String, String, ConnectionInfo) {
        let Ok(Url::Sentinels {
            sentinels,
            master,
            server,
        }) = Url::parse(url)
        else {
            panic!("{url} is not valid");
        };
        let has_password = |info: &ConnectionInfo| info.redis_settings().password().is_some();
        assert!(!sentinels.iter().any(has_password), "{url}");
        let addresses: Vec<_> = sentinels.iter().map(|info| address(info.addr())).collect();
        (addresses.join(" "), master, server)
    }

    #[test]
    fn sentinel_url_is_parsed() {
        let (sentinels, master, server) =
            parse("redis+sentinel://app:p%40ss@one,two:1234,[::1],[::2]:5,three:/my.master-1/7");
        let expected = "one:26379 two:1234 [::1]:26379 [::2]:5 three:26379";
        assert_eq!(sentinels, expected);
        assert_eq!(master, "my.master-1");
        let settings = server.redis_settings();
        assert_eq!(settings.username(), Some("app"));
        assert_eq!(settings.password(), Some("p@ss"));
        assert_eq!(settings.db(), 7);
    }

    #[test]
    fn only_hosts_and_name_are_required() {
        for url in [
            "redis+sentinel://one/mymaster",
            "redis+sentinel://one/mymaster/",
            "redis+sentinel://@one/mymaster",
        ] {
            let (sentinels, master, server) = parse(url);
            assert_eq!((&*sentinels, &*master), ("one:26379", "mymaster"));
            let settings = server.redis_settings();
            assert_eq!((settings.password(), settings.db()), (None, 0));
        }
        let (_, _, server) = parse("redis+sentinel://:a@b@one/mymaster");
        assert_eq!(server.redis_settings().password(), Some("a@b"));
    }

    #[test]
    fn invalid_sentinel_url_is_rejected() {
        for url in [
            "redis+sentinel://",
            "redis+sentinel://one",
            "redis+sentinel://one/",
            "redis+sentinel:///mymaster",
            "redis+sentinel://one,/mymaster",
            "redis+sentinel://one,,two/mymaster",
            "redis+sentinel://one:port/mymaster",
            "redis+sentinel://one:70000/mymaster",
            "redis+sentinel://one/my master",
            "redis+sentinel://one/mymaster/database",
            "redis+sentinel://one/mymaster/-1",
            "redis+sentinel://one/mymaster/0/1",
            "redis+sentinel://one/mymaster?database=1",
            "redis+sentinel://one/mymaster#insecure",
            "redis+sentinel://:pass?word@one/mymaster",
            "redis+sentinel://:pass#word@one/mymaster",
            "redis+sentinel://:1/2@one/mymaster",
            "redis+sentinel://:%ff@one/mymaster",
            "http+sentinel://one/mymaster",
        ] {
            let parsed = Url::parse(url);
            assert!(matches!(parsed, Err(RedisError::InvalidUrl)), "{url}");
        }
    }
}
