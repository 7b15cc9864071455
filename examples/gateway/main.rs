//! A gateway in front of a language model. It accepts the requests of OpenAI's and Anthropic's
//! clients, checks their API keys, limits and counts what each client uses, and relays the answers.
//!
//! ```sh
//! cargo run --example gateway                  # in front of a small model of its own
//! cargo run --example gateway -- --upstream http://127.0.0.1:11434    # in front of Ollama, for example
//! curl -N http://127.0.0.1:3000/v1/chat/completions -H 'authorization: Bearer sk-demo' \
//!   --json '{"model": "parrot-1", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
//! curl -N http://127.0.0.1:3000/v1/messages -H 'x-api-key: sk-demo' \
//!   --json '{"model": "parrot-1", "max_tokens": 100, "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
//! ```
//!
//! The gateway's own model, in the `model` module, also fails on request: the model `busy` responds
//! with a `429`, and `flaky` stops in the middle of its answer. To use an upstream whose URL
//! starts with `https://`, enable one of reqwest's TLS features.
#![allow(
    clippy::print_stdout,
    reason = "an example prints its address and what it is doing"
)]

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRef, State},
    http::HeaderMap,
};
use clap::Parser;
use serde_json::Value;
use sse_runtime::{
    Connection, ResponseHeaders, Server, SseRouterExt, Stream, StreamLimit, first_ok, relay,
    sse_endpoint,
};

mod accounts;
mod error;
mod model;
mod upstream;

use accounts::{Accounts, Client, Credentials, api_key};
use error::{Answer, Anthropic, ApiError, OpenAi};
use model::Model;
use upstream::Upstream;

/// Relays the answer to a request in the format of [OpenAI's chat
/// completions](https://platform.openai.com/docs/api-reference/chat/streaming).
///
/// Everything before the loop runs before the response begins, so an error still sets its status.
/// In the loop, an error becomes an event in the protocol's format. OpenAI's events have no name,
/// which means the same as the name `message`.
///
/// If the client disconnects, the relay is dropped, which cancels the request to the upstream.
#[sse_endpoint("/v1/chat/completions", method = POST, error_event = "message")]
async fn chat_completions(
    client: Client<OpenAi>,
    State(upstream): State<Upstream>,
    connection: Connection,
    response_headers: ResponseHeaders,
    headers: HeaderMap,
    request: Bytes,
) -> Result<impl Stream<Item = Result<Value, ApiError<OpenAi>>>, Answer<OpenAi>> {
    let meter = client.meter(&connection)?;
    let answer = upstream.post("/v1/chat/completions", &headers, request);
    let answer = upstream::streamed(answer.await?, &meter).await?;
    upstream::pass_on_request_id(&answer, &response_headers)?;
    // If the upstream is cut off before its first event, the response is a 502.
    let mut events = first_ok(relay(answer.bytes_stream())).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        // The last event, `[DONE]`, is not JSON.
        let chunk: Value = event.json().unwrap_or_default();
        let text = chunk["choices"][0]["delta"]["content"].as_str();
        if text.is_some_and(|text| !text.is_empty()) {
            meter.spend_token()?;
        }
        yield_!(event);
    }
}

/// Relays the answer to a request in the format of [Anthropic's
/// messages](https://docs.anthropic.com/en/docs/build-with-claude/streaming). Since its events have
/// names, their data does not have to be parsed.
#[sse_endpoint("/v1/messages", method = POST)]
async fn messages(
    client: Client<Anthropic>,
    State(upstream): State<Upstream>,
    connection: Connection,
    response_headers: ResponseHeaders,
    headers: HeaderMap,
    request: Bytes,
) -> Result<impl Stream<Item = Result<Value, ApiError<Anthropic>>>, Answer<Anthropic>> {
    let meter = client.meter(&connection)?;
    let answer = upstream.post("/v1/messages", &headers, request);
    let answer = upstream::streamed(answer.await?, &meter).await?;
    upstream::pass_on_request_id(&answer, &response_headers)?;
    let mut events = first_ok(relay(answer.bytes_stream())).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if event.name() == "content_block_delta" {
            meter.spend_token()?;
        }
        yield_!(event);
    }
}

#[derive(Clone, FromRef)]
struct Gateway {
    accounts: Accounts,
    upstream: Upstream,
}

/// The maximum size of a request in bytes. Requests can contain images.
const MAX_REQUEST_SIZE: usize = 32 * 1024 * 1024;

/// Creates the app. Each client can have `max_streams` requests in progress. Both endpoints count
/// towards this limit, but each reports it in its own format.
fn app(gateway: Gateway, max_streams: usize) -> Router {
    let limit = StreamLimit::per_key(max_streams, |request| {
        api_key(&request.headers).map(str::to_owned)
    });
    let of_openai = limit
        .clone()
        .reject_with(ApiError::<OpenAi>::too_many_streams);
    let of_anthropic = limit.reject_with(ApiError::<Anthropic>::too_many_streams);
    Router::new()
        .sse(chat_completions().layer(of_openai))
        .sse(messages().layer(of_anthropic))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_SIZE))
        .with_state(gateway)
}

#[derive(clap::Parser)]
struct Args {
    /// The base URL of the upstream. By default, the program starts a small model of its own.
    #[arg(long, env)]
    upstream: Option<String>,
    /// The API key for the upstream.
    #[arg(long, env, hide_env_values = true)]
    upstream_key: Option<String>,
    /// The clients and their API keys, separated by commas.
    #[arg(
        long,
        env,
        hide_env_values = true,
        value_name = "NAME:KEY",
        value_delimiter = ',',
        default_value = "demo:sk-demo"
    )]
    clients: Vec<Credentials>,
    /// The number of tokens that each client may use.
    #[arg(long, env, default_value_t = 10_000)]
    budget: u64,
    /// The number of requests that each client may have in progress.
    #[arg(long, env, default_value_t = 2)]
    max_streams: usize,
    #[arg(long, env, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let url = match args.upstream {
        Some(url) => url,
        None => Model::new(Duration::from_millis(40)).start().await?,
    };
    let gateway = Gateway {
        accounts: Accounts::new(args.clients, args.budget),
        upstream: Upstream::new(&url, args.upstream_key),
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("http://{}", listener.local_addr()?);
    Server::new(app(gateway, args.max_streams))
        .serve(listener)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
