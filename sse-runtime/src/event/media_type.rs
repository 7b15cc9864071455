//! The headers that say that a body holds events, and how it may be stored.

/// The media type of a stream.
///
/// With the charset, which the standard fixes: Python's `requests` decodes text without one as
/// Latin-1.
pub(crate) const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// Keeps caches and proxies from storing or delaying events.
///
/// Chromium writes the streams of `fetch` to its disk cache unless `no-store` is there. Without
/// `no-transform`, a proxy that compresses all it may, such as HAProxy, holds events back to
/// compress them better.
pub(crate) const CACHE_CONTROL: &str = "no-cache, no-store, no-transform";
