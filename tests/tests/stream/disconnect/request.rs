//! Tests disconnects for each request method, and for request bodies that were read in full, in
//! part, or not at all.

use support::{Client, Count, Generators, serve, serve_plain};

use super::{BURST, app};

/// Asserts that the generator is dropped if a client disconnects after receiving an event. The
/// client has read everything, so the client's kernel sends a FIN.
async fn leave_in_the_stream(mut client: Client, generators: &Generators) {
    client.head().await;
    client.expect_chunk().await;
    assert_eq!(
        generators.count(),
        Count {
            started: 1,
            alive: 1
        }
    );
    drop(client);
    generators.until_alive(0).await;
}

/// Asserts that the generator is dropped if a client disconnects without reading anything. If the
/// server has sent data, the client's kernel sends an RST.
async fn leave_unread(client: Client, generators: &Generators) {
    generators.until_started(1).await;
    assert_eq!(generators.count().alive, 1);
    drop(client);
    generators.until_alive(0).await;
}

#[tokio::test]
async fn get_generator_is_dropped() {
    let (app, generators) = app();
    let addr = serve(app).await;
    leave_in_the_stream(Client::get(addr, "/get").await, &generators).await;
}

#[tokio::test]
async fn get_generator_is_dropped_at_a_reset() {
    let (app, generators) = app();
    let addr = serve(app).await;
    leave_unread(Client::get(addr, "/get").await, &generators).await;
}

#[tokio::test]
async fn get_is_dropped_before_the_response() {
    let (app, generators) = app();
    let addr = serve(app).await;
    leave_unread(Client::get(addr, "/get-before").await, &generators).await;
}

#[tokio::test]
async fn post_is_dropped_after_body_as_bytes() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/bytes", 10, b"0123456789").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_is_dropped_after_body_as_json() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/json", 7, b"[1,2,3]").await;
    leave_in_the_stream(client, &generators).await;
}

// hyper does not notice a closed connection until the request body has been read. In the following
// tests, our framework must notice the closed connection.

#[tokio::test]
async fn post_is_dropped_with_small_unread_body() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/unread", 10, b"0123456789").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_is_dropped_with_body_after_response_head() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::post(addr, "/unread", 10, b"").await;
    client.head().await;
    client.send(b"0123456789").await;
    client.expect_chunk().await;
    drop(client);
    generators.until_alive(0).await;
}

#[tokio::test]
async fn post_is_dropped_with_large_unread_body() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let body = vec![b'x'; 3 * 1024 * 1024];
    let client = Client::post(addr, "/unread", body.len(), &body).await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_is_dropped_with_half_an_unread_body() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/unread", 10, b"01234").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn post_is_dropped_with_chunked_unread_body() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn early_post_is_dropped_with_small_unread_body() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/before", 10, b"0123456789").await;
    leave_unread(client, &generators).await;
}

#[tokio::test]
async fn early_post_is_dropped_with_large_unread_body() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let body = vec![b'x'; 3 * 1024 * 1024];
    let client = Client::post(addr, "/before", body.len(), &body).await;
    leave_unread(client, &generators).await;
}

#[tokio::test]
async fn post_is_dropped_with_body_dropped_unread() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let body = vec![b'x'; 300 * 1024];
    let client = Client::post(addr, "/body-dropped", body.len(), &body).await;
    leave_unread(client, &generators).await;
}

/// If the server closed a socket with unread bytes, the kernel would reset the connection. The
/// client would then lose the events that it had not read.
#[tokio::test]
async fn last_events_reach_a_client_that_still_uploads() {
    let (app, _) = app();
    let addr = serve(app).await;
    let (piece, pieces) = (vec![b'x'; 64 * 1024], 16);
    let mut client = Client::post(addr, "/burst", pieces * piece.len(), b"").await;
    client.head().await;
    for _ in 0..pieces {
        client.send(&piece).await;
    }
    for _ in 0..BURST {
        client.expect_chunk().await;
    }
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn early_post_is_dropped_with_half_an_unread_body() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let client = Client::post(addr, "/before", 10, b"01234").await;
    leave_unread(client, &generators).await;
}

/// An invalid chunk size.
const BAD_FRAMING: &[u8] = b"transfer-encoding: chunked\r\n\r\nnonsense\r\n";

#[tokio::test]
async fn post_with_bad_unread_body_ends() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\n")
        .await;
    client.send(BAD_FRAMING).await;
    // hyper cannot read past the invalid chunk size, so it would never notice a disconnect. The
    // server therefore closes the connection.
    let response = client.rest().await;
    assert!(!response.ends_with("0\r\n\r\n"), "{response}");
    generators.until_alive(0).await;
}

#[tokio::test]
async fn early_post_with_bad_unread_body_is_rejected() {
    let (app, generators) = app();
    let addr = serve(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /before HTTP/1.1\r\nhost: test\r\n")
        .await;
    client.send(BAD_FRAMING).await;
    assert_eq!(client.head().await.status_line, "HTTP/1.1 400 Bad Request");
    generators.until_alive(0).await;
}

#[tokio::test]
async fn axum_serve_drops_get() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    leave_in_the_stream(Client::get(addr, "/get").await, &generators).await;
}

#[tokio::test]
async fn axum_serve_drops_post_with_unread_body() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    let client = Client::post(addr, "/unread", 10, b"0123456789").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn axum_serve_drops_post_with_half_an_unread_body() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    let client = Client::post(addr, "/unread", 10, b"01234").await;
    leave_in_the_stream(client, &generators).await;
}

#[tokio::test]
async fn axum_serve_drops_post_before_the_response() {
    let (app, generators) = app();
    let addr = serve_plain(app).await;
    let client = Client::post(addr, "/before", 10, b"0123456789").await;
    leave_unread(client, &generators).await;
}
