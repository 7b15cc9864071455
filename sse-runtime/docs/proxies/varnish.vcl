# Varnish in front of two servers of event streams. What is not here may stay at its default.
# varnishd -f varnish.vcl -a :8080 -p feature=+http2 -p pipe_timeout=60
vcl 4.1;

import directors;

# `Server::ready("/readyz")` answers 503 from SIGTERM on: no new streams from then on.
probe ready {
    .url = "/readyz";
    .interval = 1s;
    .window = 1;
    .threshold = 1;
    .initial = 1;
}

# Silence of the server for this long ends a stream of HTTP/2. That of HTTP/1.1 has the parameter `pipe_timeout`. The
# keep-alive comment comes every 15 s.
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
    # It has no director that knows how many streams each server has.
    new events = directors.round_robin();
    events.add_backend(a);
    events.add_backend(b);
}

sub vcl_recv {
    set req.backend_hint = events.backend();
    # For `StreamLimit::per_key`: to the server all clients come from here. What a client says of itself is replaced.
    set req.http.X-Real-IP = client.ip;

    # Streams are not for the cache. Of a site that has more, these lines are for the paths of its streams alone.
    #
    # Piped, the client's leaving reaches the server at once. Fetched, it does when the server next sends something.
    if (req.proto ~ "^HTTP/1") {
        return (pipe);
    }
    # HTTP/2 has no pipe.
    return (pass);
}

sub vcl_pipe {
    # One request to a connection: what comes after the first would pass by unseen.
    set bereq.http.Connection = "close";
}
