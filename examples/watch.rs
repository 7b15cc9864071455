//! Watches a job of the `progress` example from another program. A service can read a stream with
//! any HTTP client and decode the events into the type that the server sends.
//!
//! ```sh
//! cargo run --example progress       # in another terminal
//! curl -X POST http://127.0.0.1:3000/jobs
//! cargo run --example watch -- http://127.0.0.1:3000/jobs/1/events
//! ```
//!
//! This program does not reconnect. To reconnect, send the request again with the id of the last
//! event in the `last-event-id` header.
#![allow(clippy::print_stdout, reason = "an example prints what it receives")]

use std::{env, error::Error};

use eventsource_stream::Eventsource as _;
use serde::Deserialize;
use sse_runtime::{
    SseEvent,
    event::{DecodeError, decode},
};
use tokio_stream::StreamExt as _;

/// The events of a job. A server and its clients can share such a type in a crate.
#[derive(Debug, Deserialize, SseEvent)]
enum JobEvent {
    Progress {
        step: u64,
        steps: u64,
        doing: String,
    },
}

/// Prints the progress of a job until it finishes. Returns the last step.
async fn watch(url: &str) -> Result<u64, Box<dyn Error>> {
    let response = reqwest::get(url).await?.error_for_status()?;
    let mut events = response.bytes_stream().eventsource();
    let mut last = 0;
    while let Some(event) = events.next().await {
        let event = event?;
        match decode(&event.event, &event.data) {
            Ok(JobEvent::Progress { step, steps, doing }) => {
                println!("{step} of {steps}: {doing}");
                last = step;
            }
            Err(DecodeError::UnknownEvent { event, .. }) if event == "done" => break,
            // A newer server may send events that this program does not know.
            Err(DecodeError::UnknownEvent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(last)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1);
    let url = url.unwrap_or_else(|| "http://127.0.0.1:3000/jobs/1/events".to_owned());
    watch(&url).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use sse_runtime::{Event, SseRouterExt, Stream, sse_endpoint};
    use tokio::net::TcpListener;

    use super::*;

    #[sse_endpoint("/events")]
    async fn events() -> impl Stream<Item = JobEvent> {
        for step in 1..=3 {
            yield_!(JobEvent::Progress {
                step,
                steps: 3,
                doing: "reading".to_owned(),
            });
        }
        yield_!(Event::text("{}").event("from_a_newer_server"));
        yield_!(Event::done());
    }

    #[tokio::test]
    async fn job_is_watched_until_it_is_done() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        tokio::spawn(sse_runtime::serve(listener, Router::new().sse(events)));
        assert_eq!(watch(&url).await.unwrap(), 3);
        assert!(watch(&url.replace("events", "jobs")).await.is_err());
    }
}
