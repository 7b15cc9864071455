//! [`StreamLimit`]: limits the number of open streams and rejects requests over the limit.

mod counted;
pub(crate) mod layer;
mod newest;
pub(crate) mod permit;
pub(crate) mod rejection;

use std::{
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ptr,
    sync::{Arc, Once},
};

use axum::{
    extract::ConnectInfo,
    http::request::Parts,
    response::{IntoResponse, Response},
};

use counted::{PerKey, Total};
use permit::Permits;
use rejection::LimitExceeded;

/// Limits how many event streams can be open at the same time. A `StreamLimit` is a layer for a
/// router or a single endpoint.
///
/// ```
/// use axum::Router;
/// use sse_runtime::{SseRouterExt, StreamLimit, Stream, sse_endpoint};
///
/// # #[sse_endpoint("/clock")]
/// # async fn clock() -> impl Stream<Item = u8> { yield_!(1) }
/// # #[sse_endpoint("/prices")]
/// # async fn prices() -> impl Stream<Item = u8> { yield_!(1) }
/// # #[derive(Clone, PartialEq, Eq, Hash)]
/// # struct User;
/// let app: Router = Router::new()
///     .sse(clock)
///     .sse(prices().layer(StreamLimit::new(500)))               // only this endpoint
///     .layer(StreamLimit::per_peer(20))                         // per address
///     .layer(StreamLimit::per_key(6, |request| {                // per user, from an auth layer
///         request.extensions.get::<User>().cloned()
///     }))
///     .layer(StreamLimit::new(20_000));                         // in total
/// ```
///
/// Limits are enforced at the endpoint, after the request has passed through all layers. A request
/// rejected by an auth layer with a `401` therefore does not count. Conversely, the layers also run
/// for requests over the limit.
///
/// By default, no stream is ended to make room for another one. With
/// [`newest_wins`](Self::newest_wins), a new stream replaces the oldest stream with the same key. A
/// permit is acquired before the extractors run and released when the generator is dropped, for
/// whatever reason. A `HEAD` request runs the statements before the response, so it holds a permit
/// until its response begins. Only requests for event streams are limited. Clones of a limit,
/// including those made by a router, share its permits.
///
/// # Over the limit
///
/// The response is a `503`, or a `429` if the limit is per key or per peer. The response has a
/// random `Retry-After` of 5 to 14 seconds. Its body is a problem details object (RFC 9457) with
/// the code `too_many_streams`. [`reject_with`](Self::reject_with) sets a different response.
///
/// A browser's `EventSource` never reconnects after a status other than `200`, so it receives a
/// `200` instead. This response sets a random reconnection time of 5 to 15 seconds, sends a `close`
/// event with `{"reason":"too_many_streams"}` as its data, and ends. A request is assumed to come
/// from an `EventSource` if it is a `GET` with exactly one `accept` header, `text/event-stream`,
/// and exactly one `cache-control` header, `no-cache`. Chromium, Firefox and the `eventsource`
/// package send both headers, but `fetch`, curl and HTTP libraries do not.
///
/// Source: [WHATWG HTML, section 9.2.3](https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model).
#[derive(Clone)]
pub struct StreamLimit {
    permits: Arc<dyn Permits>,
    reject: Option<Reject>,
}

/// Creates the response to a request over the limit.
type Reject = Arc<dyn Fn(LimitExceeded) -> Response + Send + Sync>;

impl StreamLimit {
    /// Creates a limit of `max` streams in total.
    pub fn new(max: usize) -> Self {
        Self::of(Total::new(max))
    }

    /// Creates a limit of `max` streams per client address. For IPv6 addresses, only the first 64
    /// bits are compared, because a customer usually gets a whole /64 prefix.
    ///
    /// With a reverse proxy, the address is the proxy's. In that case, use
    /// [`per_key`](Self::per_key) with a header that the proxy sets and clients cannot set.
    /// Requests without an address are not limited. A request has no address if it arrives over a
    /// Unix socket, or if the app runs under plain `axum::serve` without
    /// `into_make_service_with_connect_info`. A warning is logged for the first such request.
    pub fn per_peer(max: usize) -> Self {
        let warned = Once::new();
        Self::per_key(max, move |request| {
            let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
            let Some(ConnectInfo(peer)) = peer else {
                warned.call_once(|| {
                    tracing::warn!(
                        "a request without an address is not limited by `StreamLimit::per_peer`; with `axum::serve`, \
                         use `into_make_service_with_connect_info::<SocketAddr>()`"
                    );
                });
                return None;
            };
            Some(network(peer.ip()))
        })
    }

    /// Creates a limit of `max` streams per key. The key is taken from the request's headers or
    /// from extensions added by layers, including layers inside this one. The key must be an owned
    /// value, so clone the header or extension (`request.headers.get("x-page").cloned()`). Requests
    /// whose key is `None` are not limited.
    pub fn per_key<K, F>(max: usize, key: F) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    {
        Self::of(PerKey::new(max, key))
    }

    /// Ends the oldest stream with the same key, instead of rejecting the new one, when all permits
    /// for that key are taken.
    ///
    /// Use this method for keys whose streams replace each other, such as a session or a page. With
    /// a plain limit, a reloaded page would have to wait until the server notices that the old page
    /// is gone. This may take a minute, or longer with a reverse proxy. The oldest stream ends when
    /// the new stream's response begins, so a rejected request does not end a stream. The oldest
    /// stream's permit is freed immediately, even if that stream's client isn't reading.
    ///
    /// If another limit that applies to the request is full, such as a total limit or
    /// [`Server::max_streams`](crate::Server::max_streams), the new stream takes over the oldest
    /// stream's permit from that limit. If the oldest stream does not hold a permit from that
    /// limit, the new stream is rejected. Two streams share a permit only after such a takeover,
    /// and only until the old one has ended.
    ///
    /// The old stream ends with [`Superseded`](crate::CloseReason::Superseded). It sends a `close`
    /// event with a special id and the data `{"reason":"superseded"}`. If the client reconnects
    /// with that id, the server responds with a `204`. The client then stops reconnecting and does
    /// not end another stream.
    ///
    /// Use this method with `events = "all"`, the default for a `GET`. With `events = "own"`,
    /// neither the event nor the id is sent. If the old stream's client (another tab, for example)
    /// then reconnects automatically, it ends the new stream in turn. The two clients keep ending
    /// each other's streams forever.
    ///
    /// # Panics
    ///
    /// Panics if the limit is neither per key nor per peer.
    ///
    /// ```
    /// use sse_runtime::StreamLimit;
    ///
    /// let one_per_page = StreamLimit::per_key(1, |request| request.headers.get("x-page").cloned()).newest_wins();
    /// ```
    #[must_use]
    #[track_caller]
    pub fn newest_wins(self) -> Self {
        let Some(permits) = self.permits.newest_wins() else {
            panic!("`newest_wins` requires a `StreamLimit::per_key` or `per_peer`");
        };
        Self {
            permits,
            reject: self.reject,
        }
    }

    fn of(permits: impl Permits + 'static) -> Self {
        Self {
            permits: Arc::new(permits),
            reject: None,
        }
    }

    /// Responds to requests over the limit with the response returned by `reject`.
    ///
    /// The response is sent unchanged, with two exceptions. A success status (`2xx`, the default
    /// for `Json(…)` or a string) is replaced with [`LimitExceeded::status`], because a client
    /// would mistake it for an empty stream. If `Retry-After` is missing, it is added. A browser's
    /// `EventSource` still receives the usual `200` instead, because it would not reconnect after
    /// any other status.
    ///
    /// ```
    /// use axum::response::IntoResponse;
    /// use sse_runtime::StreamLimit;
    ///
    /// let limit = StreamLimit::new(500).reject_with(|exceeded| {
    ///     let after = exceeded.retry_after().as_secs();
    ///     (exceeded.status(), format!("Try again in {after} seconds.")).into_response()
    /// });
    /// ```
    #[must_use]
    pub fn reject_with<R: IntoResponse>(
        mut self,
        reject: impl Fn(LimitExceeded) -> R + Send + Sync + 'static,
    ) -> Self {
        self.reject = Some(Arc::new(move |exceeded| reject(exceeded).into_response()));
        self
    }

    /// Returns whether `permits` are this limit's permits.
    fn is<P>(&self, permits: &Arc<P>) -> bool {
        ptr::addr_eq(Arc::as_ptr(&self.permits), Arc::as_ptr(permits))
    }
}

impl fmt::Debug for StreamLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permits.describe(f)
    }
}

/// Returns the network usually assigned to one customer: a single IPv4 address, or the first 64
/// bits of an IPv6 address (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
