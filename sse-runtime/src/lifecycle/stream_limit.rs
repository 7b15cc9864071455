//! [`StreamLimit`]: limits the number of open streams, and rejects requests over the limit.

mod newest;

use std::{
    any::type_name,
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ptr,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::ConnectInfo,
    http::{
        Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts,
    },
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use serde_json::json;
use tower_layer::Layer;
use tower_service::Service;

use self::newest::NewestWins;
use crate::{
    event::{
        frame::{Fields, Frame, Head},
        media_type,
    },
    lifecycle::connection::Connection,
};

/// A limit on the number of event streams that are open at once: a layer around a router or a
/// single endpoint.
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
///     .sse(prices().layer(StreamLimit::new(500)))               // for this endpoint
///     .layer(StreamLimit::per_peer(20))                         // per address
///     .layer(StreamLimit::per_key(6, |request| {                // per user, from an auth layer
///         request.extensions.get::<User>().cloned()
///     }))
///     .layer(StreamLimit::new(20_000));                         // in total
/// ```
///
/// Limits are enforced at the endpoint, after all layers have run. Therefore, a request that an
/// auth layer rejects with `401` does not count, and the layers also run for requests over the
/// limit.
///
/// A stream is never ended to make room for another client's stream. With
/// [`newest_wins`](Self::newest_wins), a newer stream with the same key replaces the oldest one. A
/// place is taken before the extractors run, and released when the generator is dropped, for any
/// reason. A `HEAD` request holds a place until its response, because it runs the statements before
/// the response. Requests for responses other than event streams are not limited. Clones of one
/// limit, such as those that a router makes, share its places.
///
/// # Over the limit
///
/// The response is a `503`, or a `429` if the limit is per key or per peer, with a random
/// `Retry-After` of 5 to 15 s. The body is a problem (RFC 9457) with the code `too_many_streams`.
/// [`reject_with`](Self::reject_with) replaces that response.
///
/// A browser's `EventSource` never reconnects after a status other than `200`, so it receives a
/// `200` instead. This response sets a random reconnection time of 5 to 15 s, sends the event
/// `close` with `{"reason":"too_many_streams"}` as its data, and ends. A request counts as coming
/// from an `EventSource` if it is a `GET` whose only `accept` is `text/event-stream` and whose
/// `cache-control` is `no-cache`. Chromium, Firefox and the `eventsource` package send both
/// headers; `fetch`, curl and HTTP libraries do not.
///
/// Source: [WHATWG HTML, section 9.2.3](https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model).
#[derive(Clone)]
pub struct StreamLimit {
    places: Arc<dyn Places>,
    reject: Option<Reject>,
}

/// Creates the response to a request over the limit.
type Reject = Arc<dyn Fn(LimitExceeded) -> Response + Send + Sync>;

/// The rejection of a request by a [`StreamLimit`].
///
/// Its response is the limit's default response: a problem with the status `503` or `429`, and a
/// `Retry-After` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    full: Full,
    retry_after: Duration,
}

impl LimitExceeded {
    fn new(full: Full) -> Self {
        Self {
            full,
            retry_after: Duration::from_millis(fastrand::u64(5_000..15_000)),
        }
    }

    /// Returns `503`, or `429` if the limit is per key or per peer.
    pub fn status(self) -> StatusCode {
        match self.full {
            Full::Total => StatusCode::SERVICE_UNAVAILABLE,
            Full::Key => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns how long the client should wait before it retries: a random time of 5 to 15 s, so
    /// that rejected clients do not all retry at once.
    pub fn retry_after(self) -> Duration {
        self.retry_after
    }
}

impl IntoResponse for LimitExceeded {
    fn into_response(self) -> Response {
        let status = self.status();
        let problem = json!({
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": "too many event streams are open",
            "code": TOO_MANY_STREAMS,
        });
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            ),
            (
                header::RETRY_AFTER,
                HeaderValue::from(self.retry_after.as_secs()),
            ),
        ];
        (status, headers, problem.to_string()).into_response()
    }
}

/// The problem code, and the reason in the `close` event.
const TOO_MANY_STREAMS: &str = "too_many_streams";

/// The places of a limit. The limit counts the streams that hold a place.
trait Places: Send + Sync {
    /// Takes a place. Returns `None` if this limit does not apply to the request.
    fn take(self: Arc<Self>, request: &Parts) -> Option<Result<Place, Full>>;

    /// Returns the same limit in the mode in which a new stream ends the oldest stream with its
    /// key. Returns `None` if the limit has no keys.
    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Places>>;

    /// Returns whether a new stream ends another one, in which case a place is always available.
    fn is_newest_wins(&self) -> bool {
        false
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A stream's place. It becomes free again once it and all its clones have been dropped.
///
/// A stream can take over a clone from the stream that it replaces. The two streams then share one
/// place until the older one has ended.
#[derive(Clone)]
pub(crate) struct Place(Arc<dyn Held>);

impl Place {
    /// Sets the connection of the stream.
    pub(crate) fn bind(&self, connection: &Connection) {
        self.0.bind(connection);
    }

    /// Marks the stream as begun. From then on, its request can no longer be rejected.
    pub(crate) fn begin(&self) {
        self.0.begin();
    }
}

/// The holder of a place. By default, it does not matter which stream has the place.
trait Held: Send + Sync {
    fn bind(&self, _: &Connection) {}

    fn begin(&self) {}

    /// Returns whether this is a place that `limit` would give to the request.
    fn is_of(&self, _: &StreamLimit, _: &Parts) -> bool {
        false
    }

    /// Takes over a place in a limit that is full, from a stream that ends to make room for this
    /// one.
    fn take_over(&self, _: &StreamLimit, _: &Parts) -> Option<Place> {
        None
    }

    /// Called once the stream has a place in every limit. The argument is its places in the limits
    /// without `newest_wins`.
    fn admit(&self, _: &[Place]) {}
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

/// The reason for a rejection: which places are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The places for all requests to which the limit applies.
    Total,
    /// The places for this key.
    Key,
}

impl StreamLimit {
    /// Creates a limit of `max` streams in total.
    pub fn new(max: usize) -> Self {
        Self::of(Total {
            max,
            open: AtomicUsize::new(0),
        })
    }

    /// Creates a limit of `max` streams per client address. IPv6 addresses are compared by their
    /// first 64 bits, the prefix of one customer.
    ///
    /// With a reverse proxy, the address is the proxy's. In that case, use
    /// [`per_key`](Self::per_key) with a header that the proxy sets and clients cannot set.
    /// Requests without an address are not limited. These are requests over a Unix socket, and all
    /// requests under plain `axum::serve` without `into_make_service_with_connect_info`. The first
    /// such request logs a warning.
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

    /// Creates a limit of `max` streams per key. The key is taken from the request's headers, or
    /// from extensions that layers have added, including layers inside this one. It is an owned
    /// value, so clone the header or extension (`request.headers.get("x-page").cloned()`). Requests
    /// whose key is `None` are not limited.
    pub fn per_key<K, F>(max: usize, key: F) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    {
        Self::of(PerKey {
            max,
            key,
            open: Mutex::default(),
        })
    }

    /// Admits a new stream even if all places for its key are taken, and ends the oldest stream
    /// with that key instead.
    ///
    /// Use this for keys whose streams replace each other, such as a session or a page: when a page
    /// is reloaded, it does not have to wait until the server notices that the old page is gone.
    /// That may take a minute, or longer with a reverse proxy. The oldest stream ends when the new
    /// stream's response begins, so a rejected request does not end a stream. The oldest stream's
    /// place is freed immediately, even if its client isn't reading.
    ///
    /// If another limit of the request is full, such as a total or
    /// [`Server::max_streams`](crate::Server::max_streams), the new stream takes over the oldest
    /// stream's place in that limit. If the oldest stream does not have a place there, the new
    /// stream is rejected. Two streams share a place only after such a takeover, from the new
    /// stream's request until the old stream has ended.
    ///
    /// The old stream ends with [`Superseded`](crate::CloseReason::Superseded). It sends the event
    /// `close`, with `{"reason":"superseded"}` as its data and with an id that makes its client
    /// stop. If that client reconnects, it receives a `204` and does not end another stream.
    ///
    /// Use this with `events = "all"`, the default for a `GET`. With `events = "own"`, neither the
    /// event nor the id is sent. A client that reconnects automatically, such as another tab, then
    /// ends the new stream in turn, and the two tabs keep ending each other's streams forever.
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
        let Some(places) = self.places.newest_wins() else {
            panic!("`newest_wins` requires a `StreamLimit::per_key` or `per_peer`");
        };
        Self {
            places,
            reject: self.reject,
        }
    }

    fn of(places: impl Places + 'static) -> Self {
        Self {
            places: Arc::new(places),
            reject: None,
        }
    }

    /// Responds to requests over the limit with the response that `reject` returns, instead of the
    /// default response.
    ///
    /// The response is sent unchanged, with two exceptions. A success status (`2xx`, the default
    /// for `Json(…)` or a string) is replaced by [`LimitExceeded::status`], because a client would
    /// mistake the response for an empty stream. If `Retry-After` is missing, it is added. A
    /// browser's `EventSource` still receives a `200`, because it would not reconnect after any
    /// other response.
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

    /// Returns whether `places` belongs to this limit.
    fn is<P>(&self, places: &Arc<P>) -> bool {
        ptr::addr_eq(Arc::as_ptr(&self.places), Arc::as_ptr(places))
    }

    /// Returns the response to a request for which no place is left.
    fn reject(&self, full: Full, request: &Parts) -> Response {
        let exceeded = LimitExceeded::new(full);
        if is_event_source(&request.method, &request.headers) {
            return reject_event_source(exceeded);
        }
        let Some(reject) = &self.reject else {
            return exceeded.into_response();
        };
        let mut response = reject(exceeded);
        if response.status().is_success() {
            *response.status_mut() = exceeded.status();
        }
        response
            .headers_mut()
            .entry(header::RETRY_AFTER)
            .or_insert_with(|| HeaderValue::from(exceeded.retry_after.as_secs()));
        response
    }
}

impl fmt::Debug for StreamLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.places.describe(f)
    }
}

/// Returns the network that one customer usually gets: a single IPv4 address, or the first 64 bits
/// of an IPv6 address (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

struct Total {
    max: usize,
    open: AtomicUsize,
}

impl Places for Total {
    fn take(self: Arc<Self>, _: &Parts) -> Option<Result<Place, Full>> {
        let more = |open: usize| (open < self.max).then_some(open + 1);
        // Relaxed ordering is enough, because the count does not synchronise other memory.
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        Some(match taken {
            Ok(_) => Ok(Place(Arc::new(OfTotal(self)))),
            Err(_) => Err(Full::Total),
        })
    }

    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Places>> {
        None
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLimit")
            .field("max", &self.max)
            .field("open", &self.open.load(Ordering::Relaxed))
            .finish()
    }
}

struct OfTotal(Arc<Total>);

impl Held for OfTotal {
    fn is_of(&self, limit: &StreamLimit, _: &Parts) -> bool {
        limit.is(&self.0)
    }
}

impl Drop for OfTotal {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

struct PerKey<K, F> {
    max: usize,
    key: F,
    /// The number of streams for each key that has at least one.
    open: Mutex<HashMap<K, usize>>,
}

impl<K, F> Places for PerKey<K, F>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
{
    fn take(self: Arc<Self>, request: &Parts) -> Option<Result<Place, Full>> {
        let key = (self.key)(request)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&key).copied().unwrap_or(0);
        if count >= self.max {
            return Some(Err(Full::Key));
        }
        open.insert(key.clone(), count + 1);
        drop(open);
        Some(Ok(Place(Arc::new(OfKey { limit: self, key }))))
    }

    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Places>> {
        Some(Arc::new(NewestWins::new(self)))
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLimit")
            .field("max", &self.max)
            .field("key", &type_name::<K>())
            .finish_non_exhaustive()
    }
}

struct OfKey<K: Hash + Eq + Clone, F> {
    limit: Arc<PerKey<K, F>>,
    key: K,
}

impl<K, F> Held for OfKey<K, F>
where
    K: Hash + Eq + Clone + Send + Sync,
    F: Fn(&Parts) -> Option<K> + Send + Sync,
{
    fn is_of(&self, limit: &StreamLimit, request: &Parts) -> bool {
        limit.is(&self.limit) && (self.limit.key)(request).is_some_and(|key| key == self.key)
    }
}

impl<K: Hash + Eq + Clone, F> Drop for OfKey<K, F> {
    fn drop(&mut self) {
        let open = self.limit.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(self.key.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The limits that a request has passed through, outermost first.
#[derive(Clone, Debug, Default)]
struct Limits(Vec<StreamLimit>);

/// The rejection of a request because a limit has no place left.
pub(crate) struct Rejected {
    pub(crate) full: Full,
    pub(crate) response: Response,
}

/// Takes a place in each limit. If a limit has no place left, the places already taken are
/// released. A stream that replaces another one may take over that stream's places.
pub(crate) fn take_places(request: &Parts) -> Result<Vec<Place>, Box<Rejected>> {
    let Some(Limits(limits)) = request.extensions.get() else {
        return Ok(Vec::new());
    };
    let (newest, others): (Vec<_>, Vec<_>) = limits
        .iter()
        .partition(|limit| limit.places.is_newest_wins());
    let take = |limit: &StreamLimit| Arc::clone(&limit.places).take(request);
    let rejected = |limit: &StreamLimit, full| {
        let response = limit.reject(full, request);
        Box::new(Rejected { full, response })
    };

    // Ensures that a concurrent request sees this stream either with all its places or not at all.
    // Otherwise, that request could miss a place that it could take over.
    let _one_at_a_time =
        (!newest.is_empty()).then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
    let mut replacing = Vec::with_capacity(newest.len());
    for limit in newest {
        if let Some(taken) = take(limit) {
            replacing.push(taken.map_err(|full| rejected(limit, full))?);
        }
    }
    let mut places = Vec::with_capacity(limits.len());
    for limit in others {
        match take(limit) {
            None => {}
            Some(Ok(place)) => places.push(place),
            Some(Err(full)) => {
                let taken_over = replacing
                    .iter()
                    .find_map(|newer| newer.0.take_over(limit, request));
                places.push(taken_over.ok_or_else(|| rejected(limit, full))?);
            }
        }
    }
    for newer in &replacing {
        newer.0.admit(&places);
    }
    places.extend(replacing);
    Ok(places)
}

/// Held while places are taken for a stream that may replace another one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Full {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 2] = [Self::Total, Self::Key];

    /// Returns the name used in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Key => "key",
        }
    }
}

/// Returns the response to an `EventSource`. The response ends immediately and sets the time after
/// which the client reconnects.
fn reject_event_source(exceeded: LimitExceeded) -> Response {
    let mut frame = BytesMut::new();
    let fields = Fields {
        event: Some("close".into()),
        retry: Some(exceeded.retry_after),
        ..Fields::default()
    };
    let mut writing = Frame::new(&mut frame, &fields);
    writing.text(
        Head::default(),
        &json!({ "reason": TOO_MANY_STREAMS }).to_string(),
    );
    writing.finish();
    let headers = [
        (header::CONTENT_TYPE, media_type::CONTENT_TYPE),
        (header::CACHE_CONTROL, media_type::CACHE_CONTROL),
    ];
    (headers, frame.freeze()).into_response()
}

/// Returns whether the client never reconnects after a status other than `200`. Many other clients
/// accept event streams, but would mistake an empty `200` for success.
fn is_event_source(method: &Method, headers: &HeaderMap) -> bool {
    let is_only = |name, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|only| only == value) && values.next().is_none()
    };
    method == Method::GET
        && is_only(header::ACCEPT, "text/event-stream")
        && is_only(header::CACHE_CONTROL, "no-cache")
}

/// Limits the streams of the requests that pass through this layer.
impl<S> Layer<S> for StreamLimit {
    type Service = StreamLimitService<S>;

    fn layer(&self, inner: S) -> StreamLimitService<S> {
        StreamLimitService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of the [`StreamLimit`] layer.
#[derive(Clone, Debug)]
pub struct StreamLimitService<S> {
    inner: S,
    layer: StreamLimit,
}

impl<S, B> Service<Request<B>> for StreamLimitService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.add_to(request.extensions_mut());
        self.inner.call(request)
    }
}

impl StreamLimit {
    /// Adds this limit to the extensions of a request, so that the request's stream can find it.
    pub(crate) fn add_to(&self, extensions: &mut Extensions) {
        let Limits(limits) = extensions.get_or_insert_default();
        // A request that passes through the same limit twice, in two layers, takes only one place.
        if !limits
            .iter()
            .any(|limit| Arc::ptr_eq(&limit.places, &self.places))
        {
            limits.push(self.clone());
        }
    }
}
