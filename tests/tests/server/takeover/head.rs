//! Tests that the response head is identical to the one that hyper would write.

use std::net::SocketAddr;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::get,
};
use sse_runtime::Server;

use support::{Client, SseRouterExt as _, body, serve_as};

use super::{serve, two};

/// Returns the lines of the head, and the `Date` header separately.
async fn lines(addr: SocketAddr, request: &str) -> (Vec<String>, String) {
    let mut client = Client::connect(addr).await;
    client.send(request.as_bytes()).await;
    let head = client.read_to("\r\n\r\n").await;
    let (head, _) = head.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
    let date = lines.iter().position(|line| line.starts_with("date: "));
    let date = lines.remove(date.unwrap());
    (lines, date)
}

/// Compares two servers that run the same app. In one of the servers, hyper writes the stream.
#[tokio::test]
async fn head_matches_the_head_from_hyper() {
    async fn marked(mut response: Response) -> Response {
        let headers = response.headers_mut();
        let set_cookie = header::SET_COOKIE;
        headers.append(set_cookie.clone(), HeaderValue::from_static("a=1"));
        headers.append(set_cookie, HeaderValue::from_static("b=2"));
        let name = HeaderName::from_static("x-note");
        headers.insert(name, HeaderValue::from_bytes("schön".as_bytes()).unwrap());
        response
    }
    async fn closing() -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CONNECTION, "close"),
        ];
        (headers, body::of_frames(vec![body::data("a")])).into_response()
    }
    let app = || {
        Router::new()
            .sse(two)
            .route("/closing", get(closing))
            .layer(map_response(marked))
    };
    let ours = serve(app()).await;
    let hypers = serve_as(Server::new(app()).bypass_hyper(false)).await;
    for request in [
        "GET /two HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET /two HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        "GET /two HTTP/1.0\r\nhost: test\r\n\r\n",
        "GET /two HTTP/1.0\r\nhost: test\r\nconnection: keep-alive\r\n\r\n",
        "GET /closing HTTP/1.1\r\nhost: test\r\n\r\n",
    ] {
        let (mut lines_of_ours, date) = lines(ours, request).await;
        let (mut lines_of_hypers, date_of_hypers) = lines(hypers, request).await;
        lines_of_ours.sort();
        lines_of_hypers.sort();
        assert_eq!(lines_of_ours, lines_of_hypers, "{request}");
        // Weekday and month abbreviations are always three letters long, so two dates have the same
        // format if their digits are in the same positions.
        let form = |date: &str| -> Vec<bool> { date.chars().map(|c| c.is_ascii_digit()).collect() };
        assert_eq!(form(&date), form(&date_of_hypers), "{date}");
        let day = |date: &str| date[.."date: Sun, 06 Nov 1994".len()].to_owned();
        assert_eq!(day(&date), day(&date_of_hypers), "the test ran at midnight");
    }
}
