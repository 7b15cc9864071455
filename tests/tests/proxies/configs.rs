//! The configuration files from the docs, and the changes that the tests make to them.

/// A proxy and its configuration from the docs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) program: &'static str,
    pub(crate) file: &'static str,
    /// The listen address in the file, and its replacement in tests, which contains `PORT` as a
    /// placeholder.
    pub(crate) listens: Option<(&'static str, &'static str)>,
    /// Like `listens`, for HTTP/2 without TLS.
    pub(crate) listens_to_http2: Option<(&'static str, &'static str)>,
    /// Like `listens`, for browsers. Also enables HTTP/2 over TLS, and compression for every
    /// response that the proxy can compress.
    pub(crate) listens_to_browsers: Option<(&'static str, &'static str)>,
    /// The proxy's timeout for servers that send nothing, and the replacement used in tests.
    pub(crate) silence: (&'static str, &'static str),
    /// The server addresses in the file.
    pub(crate) servers: &'static [&'static str],
    /// Replacements that allow the proxy to run without privileges in its own directory, `DIR`.
    pub(crate) private: &'static [(&'static str, &'static str)],
    pub(crate) args: &'static [&'static str],
    /// Whether the proxy runs as several processes.
    pub(crate) has_children: bool,
}

/// The server addresses in most of the files.
pub(crate) const SERVERS: &[&str] = &["127.0.0.1:3000", "127.0.0.1:3001"];

pub(crate) const NGINX: Kind = Kind {
    program: "nginx",
    file: include_str!("../../../sse-runtime/docs/proxies/nginx.conf"),
    listens: Some(("listen 8080;", "listen 127.0.0.1:PORT;")),
    listens_to_http2: Some(("listen 8080;", "listen 127.0.0.1:PORT http2;")),
    listens_to_browsers: Some((
        "listen 8080;",
        "listen 127.0.0.1:PORT ssl http2; ssl_certificate DIR/certificate; ssl_certificate_key DIR/key; \
         gzip on; gzip_types *; gzip_proxied any;",
    )),
    silence: ("proxy_read_timeout 60s;", "proxy_read_timeout 2s;"),
    servers: SERVERS,
    private: &[(
        "\nhttp {\n",
        "\nhttp {\naccess_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n",
    )],
    // Run a single process so that killing this process stops the whole proxy.
    args: &[
        "-p",
        "DIR",
        "-e",
        "stderr",
        "-g",
        "daemon off; master_process off; pid pid;",
        "-c",
        "FILE",
    ],
    has_children: false,
};

pub(crate) const NGINX_DEFAULT: Kind = Kind {
    file: "events {}
http {
    server {
        listen 8080;
        location / { proxy_pass http://127.0.0.1:3000; }
    }
}
",
    servers: &["127.0.0.1:3000"],
    ..NGINX
};

pub(crate) const HAPROXY: Kind = Kind {
    program: "haproxy",
    file: include_str!("../../../sse-runtime/docs/proxies/haproxy.cfg"),
    listens: Some(("bind :8080\n", "bind 127.0.0.1:PORT\n")),
    listens_to_http2: Some(("bind :8080\n", "bind 127.0.0.1:PORT proto h2\n")),
    listens_to_browsers: Some((
        "bind :8080\n",
        "bind 127.0.0.1:PORT ssl crt DIR/both alpn h2,http/1.1\n    compression algo gzip\n",
    )),
    silence: ("timeout server 60s\n", "timeout server 2s\n"),
    servers: SERVERS,
    // HAProxy does not start if `maxconn` exceeds the operating system's limit, so the tests use a
    // lower value.
    private: &[("maxconn 20000\n", "maxconn 200\n")],
    args: &["-db", "-f", "FILE"],
    has_children: false,
};

pub(crate) const HAPROXY_DEFAULT: Kind = Kind {
    file: "defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend public
    bind :8080
    default_backend events
backend events
    server a 127.0.0.1:3000
",
    servers: &["127.0.0.1:3000"],
    private: &[("defaults\n", "global\n    maxconn 200\ndefaults\n")],
    ..HAPROXY
};

pub(crate) const CADDY: Kind = Kind {
    program: "caddy",
    file: include_str!("../../../sse-runtime/docs/proxies/Caddyfile"),
    listens: Some(("\n:8080 {\n", "\n:PORT {\nbind 127.0.0.1\n")),
    listens_to_http2: Some(("\n:8080 {\n", "\n:PORT {\nbind 127.0.0.1\n")),
    listens_to_browsers: Some((
        "\n:8080 {\n",
        "\nhttps://127.0.0.1:PORT {\nbind 127.0.0.1\ntls DIR/certificate DIR/key\nencode gzip\n",
    )),
    silence: ("read_timeout 60s\n", "read_timeout 2s\n"),
    servers: SERVERS,
    private: &[(
        "\n{\n",
        "\n{\nadmin off\nauto_https disable_redirects\nservers {\nprotocols h1 h2 h2c\n}\n",
    )],
    args: &["run", "--adapter", "caddyfile", "--config", "FILE"],
    has_children: false,
};

pub(crate) const CADDY_DEFAULT: Kind = Kind {
    file: "
{
}

:8080 {
\treverse_proxy 127.0.0.1:3000
}
",
    servers: &["127.0.0.1:3000"],
    ..CADDY
};

pub(crate) const HTTPD: Kind = Kind {
    program: "apache2",
    file: include_str!("../../../sse-runtime/docs/proxies/httpd.conf"),
    listens: Some(("\nListen 8080\n", "\nListen 127.0.0.1:PORT\n")),
    listens_to_http2: Some(("\nListen 8080\n", "\nListen 127.0.0.1:PORT\n")),
    listens_to_browsers: Some((
        "\nListen 8080\n",
        "\nListen 127.0.0.1:PORT\nLoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so\n\
         LoadModule deflate_module /usr/lib/apache2/modules/mod_deflate.so\n\
         LoadModule filter_module /usr/lib/apache2/modules/mod_filter.so\n\
         AddOutputFilterByType DEFLATE text/html text/plain application/javascript\n\
         SSLEngine on\nSSLCertificateFile DIR/certificate\nSSLCertificateKeyFile DIR/key\n",
    )),
    silence: ("\nProxyTimeout 60\n", "\nProxyTimeout 2\n"),
    servers: SERVERS,
    private: &[(
        "# Apache httpd in front",
        "ServerName localhost\nUser nobody\nGroup nogroup\nPidFile DIR/pid\nDefaultRuntimeDir DIR\nMutex fcntl:DIR\nErrorLog /dev/stderr\n\
         LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
         LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
         LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so\n\
         LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so\n\
         LoadModule slotmem_shm_module /usr/lib/apache2/modules/mod_slotmem_shm.so\n\
         LoadModule proxy_balancer_module /usr/lib/apache2/modules/mod_proxy_balancer.so\n\
         LoadModule lbmethod_bybusyness_module /usr/lib/apache2/modules/mod_lbmethod_bybusyness.so\n\
         LoadModule proxy_hcheck_module /usr/lib/apache2/modules/mod_proxy_hcheck.so\n\
         LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so\n\
         LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so\n\
         # Apache httpd in front",
    )],
    args: &["-DFOREGROUND", "-f", "FILE"],
    has_children: true,
};

pub(crate) const HTTPD_DEFAULT: Kind = Kind {
    file: "# Apache httpd in front
Listen 8080
ProxyPass \"/\" \"http://127.0.0.1:3000/\"
",
    servers: &["127.0.0.1:3000"],
    ..HTTPD
};

pub(crate) const VARNISH: Kind = Kind {
    program: "varnishd",
    file: include_str!("../../../sse-runtime/docs/proxies/varnish.vcl"),
    listens: None,
    listens_to_http2: None,
    // Varnish does not support TLS.
    listens_to_browsers: None,
    silence: ("pipe_timeout=60", "pipe_timeout=2"),
    servers: SERVERS,
    private: &[],
    args: &[
        "-F",
        "-j",
        "none",
        "-n",
        "DIR",
        "-s",
        "malloc,16m",
        "-f",
        "FILE",
        "-a",
        "127.0.0.1:PORT",
        "-p",
        "feature=+http2",
        "-p",
        "pipe_timeout=60",
    ],
    has_children: true,
};

pub(crate) const VARNISH_DEFAULT: Kind = Kind {
    file: "vcl 4.1;
backend default { .host = \"127.0.0.1:3000\"; }
",
    servers: &["127.0.0.1:3000"],
    ..VARNISH
};

/// Replaces the only occurrence of `was` in `file` with `is`. Panics unless `was` occurs exactly
/// once.
pub(crate) fn changed(file: &str, was: &str, is: &str) -> String {
    assert_eq!(file.matches(was).count(), 1, "{was:?} in {file}");
    file.replace(was, is)
}
