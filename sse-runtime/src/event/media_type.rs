//! The values of an event stream's `Content-Type` and `Cache-Control` headers.

/// The media type of an event stream.
///
/// The charset is included because Python's `requests` decodes a text response without one as
/// Latin-1, even though the standard prescribes UTF-8.
pub(crate) const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// Keeps caches and proxies from storing or delaying events.
///
/// Without `no-store`, Chromium writes streams read with `fetch` to its disk cache. Without
/// `no-transform`, a proxy that compresses responses, such as HAProxy, delays events to compress
/// several of them together.
pub(crate) const CACHE_CONTROL: &str = "no-cache, no-store, no-transform";
