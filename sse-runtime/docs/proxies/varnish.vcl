# Varnish in front of two servers of event streams. All other settings can keep their defaults.
# varnishd -f varnish.vcl -a :8080 -p feature=+http2 -p pipe_timeout=60
vcl 4.1;

import directors;

# After SIGTERM, `Server::readiness_path("/readyz")` responds with 503, so the server receives no new streams.
probe ready {
    .url = "/readyz";
    .interval = 1s;
    .window = 1;
    .threshold = 1;
    .initial = 1;
}

# `between_bytes_timeout` ends an HTTP/2 stream if the server sends nothing for this long. For HTTP/1.1, this is the
# `pipe_timeout` parameter. The server sends a keep-alive comment every 15 s.
backend a {
    .host = "127.0.0.1:3000";
    .connect_timeout = 5s;
    .between_bytes_timeout = 60s;
    .probe = ready;
}
backend b {
    .host = "127.0.0.1:3001";
    .connect_timeout = 5s;
    .between_bytes_timeout = 60s;
    .probe = ready;
}

sub vcl_init {
    # Varnish has no director that takes the number of streams of each server into account.
    new events = directors.round_robin();
    events.add_backend(a);
    events.add_backend(b);
}

sub vcl_recv {
    set req.backend_hint = events.backend();
    # For `StreamLimit::per_key`, since the server only sees the proxy's address. Overrides a value from the client.
    set req.http.X-Real-IP = client.ip;

    # Streams must not be cached. If the site also has other content, restrict the following lines to the paths of the
    # streams.
    #
    # If a request is piped, the server notices a disconnect immediately. Otherwise, it does not notice until it next
    # sends something.
    if (req.proto ~ "^HTTP/1") {
        return (pipe);
    }
    # HTTP/2 requests cannot be piped.
    return (pass);
}

sub vcl_pipe {
    # Allows only one request per connection. Varnish would forward any further request without running `vcl_recv`.
    set bereq.http.Connection = "close";
}
