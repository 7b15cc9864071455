//! The values of an event stream's `Content-Type` and `Cache-Control` headers.

/// The media type of an event stream.
///
/// The standard prescribes UTF-8, but Python's `requests` decodes a text response as Latin-1 if the
/// media type has no charset. This media type therefore includes the charset.
pub(crate) const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// Keeps caches and proxies from storing or delaying events.
///
/// Without `no-store`, Chromium writes streams read with `fetch` to its disk cache. Without
/// `no-transform`, a proxy that compresses responses, such as HAProxy, delays events to compress
/// several of them together.
pub(crate) const CACHE_CONTROL: &str = "no-cache, no-store, no-transform";
