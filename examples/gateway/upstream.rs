//! Requests to the upstream.

use axum::{
    body::Bytes,
    http::{
        HeaderMap,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::IntoResponse,
};
use serde::Deserialize;
use sse_runtime::{ResponseHeaders, route::ResponseHeaderError};

use crate::{
    accounts::Meter,
    error::{Answer, Failure},
};

#[derive(Clone)]
pub(crate) struct Upstream {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// The client's headers that are passed on to the upstream.
const PASSED_ON: [&str; 2] = ["anthropic-beta", "anthropic-version"];

/// The headers in which upstreams send the id of a request, which helps them to find it in their
/// logs.
const REQUEST_IDS: [&str; 2] = ["request-id", "x-request-id"];

impl Upstream {
    pub(crate) fn new(url: &str, key: Option<String>) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: url.trim_end_matches('/').to_owned(),
            key,
        }
    }

    /// Sends a request with the gateway's own API key.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, Failure> {
        let mut request = self.http.post(format!("{}{path}", self.url));
        request = request.header(CONTENT_TYPE, "application/json").body(body);
        for name in PASSED_ON {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key).header("x-api-key", key);
        }
        request.send().await.map_err(Failure::Unreachable)
    }
}

/// Returns the upstream's response if it is an event stream.
///
/// # Errors
///
/// Otherwise, returns the response as it is sent to the client. It may be a complete answer, since
/// the request may not have asked for a stream, or an error, such as a `429`.
pub(crate) async fn streamed<P>(
    response: reqwest::Response,
    meter: &Meter,
) -> Result<reqwest::Response, Answer<P>> {
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
        return Ok(response);
    }
    let mut headers = HeaderMap::new();
    let names = [CONTENT_TYPE.as_str(), RETRY_AFTER.as_str()];
    for name in names.into_iter().chain(REQUEST_IDS) {
        if let Some(value) = response.headers().get(name) {
            headers.append(name, value.clone());
        }
    }
    let status = response.status();
    let body = response.bytes().await.map_err(Failure::Unreachable)?;
    // An error has no usage.
    let whole: Whole = serde_json::from_slice(&body).unwrap_or_default();
    meter.spend_whole(whole.usage.output_tokens);
    Err(Answer::Upstream((status, headers, body).into_response()))
}

/// The part of a complete answer that the gateway reads.
#[derive(Default, Deserialize)]
struct Whole {
    usage: Usage,
}

/// The field is called `output_tokens` by Anthropic, and `completion_tokens` by OpenAI.
#[derive(Default, Deserialize)]
struct Usage {
    #[serde(alias = "completion_tokens")]
    output_tokens: u64,
}

/// Sends the upstream's request id to the client.
pub(crate) fn pass_on_request_id(
    response: &reqwest::Response,
    to: &ResponseHeaders,
) -> Result<(), ResponseHeaderError> {
    for name in REQUEST_IDS {
        if let Some(value) = response.headers().get(name) {
            to.insert(name, value)?;
        }
    }
    Ok(())
}
