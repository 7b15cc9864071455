//! Shows the progress of jobs, which keep running when the page that started them is closed.
//!
//! ```sh
//! cargo run --example progress       # a page at http://127.0.0.1:3000
//! curl -i -X POST http://127.0.0.1:3000/jobs
//! curl -N http://127.0.0.1:3000/jobs/1/events
//! curl -N http://127.0.0.1:3000/jobs/1/events -H 'last-event-id: 20'
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its address")]

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::{Event, LastEventId, SseEvent, SseRouterExt, Stream, openapi::Api, sse_endpoint};
use tokio::sync::{RwLock, watch};

const STEPS: u64 = 60;

/// The `progress` event. Each event contains the complete state of a job, so a reader that missed
/// some events only needs the latest one.
#[derive(Clone, Debug, JsonSchema, SseEvent)]
struct Progress {
    /// Also the event's id, which the client sends when it reconnects.
    #[sse(id)]
    step: u64,
    steps: u64,
    doing: &'static str,
}

/// Streams the progress of a job until it finishes. Responds with a 404 if the job does not exist.
///
/// If the connection is lost, the client reconnects with the id of the last step it received, and
/// the stream resumes after that step.
#[sse_endpoint("/jobs/{id}/events", retry = "1s")]
async fn job_events(
    Path(id): Path<usize>,
    last: LastEventId<u64>,
    State(jobs): State<Jobs>,
) -> Result<impl Stream<Item = Progress>, StatusCode> {
    // Before the first `yield_!`, `?` returns an HTTP status. A client does not reconnect after a
    // 404.
    let mut progress = jobs.find(id).await.ok_or(StatusCode::NOT_FOUND)?;

    // An id that cannot be parsed is treated as missing. The stream then starts at the current step.
    let mut seen = last.ok();
    // `wait_for` fails once the job has ended and its last step has been seen. The guard that it
    // returns locks the channel, so clone the value immediately. Holding the guard across the
    // `yield_!` would let a slow reader block the job.
    while let Ok(now) = progress
        .wait_for(|now| Some(now.step) > seen)
        .await
        .map(|now| now.clone())
    {
        seen = Some(now.step);
        yield_!(now);
    }
    // A client reconnects whenever a stream ends, unless it has received `done`. An `EventSource`
    // reconnects even then, but receives a 204 and stops.
    yield_!(Event::done());
}

/// All jobs since the program started. A job's id is its index plus one.
#[derive(Clone, Default)]
struct Jobs(Arc<RwLock<Vec<watch::Receiver<Progress>>>>);

impl Jobs {
    /// Starts a job and returns its id.
    async fn start(&self) -> usize {
        let (progress, watched) = watch::channel(Progress {
            step: 0,
            steps: STEPS,
            doing: "starting",
        });
        // The job runs in its own task, independently of any request or reader.
        tokio::spawn(work(progress));
        let mut jobs = self.0.write().await;
        jobs.push(watched);
        jobs.len()
    }

    async fn find(&self, id: usize) -> Option<watch::Receiver<Progress>> {
        self.0.read().await.get(id.checked_sub(1)?).cloned()
    }
}

/// Runs a job, which publishes its progress independently of its readers.
async fn work(progress: watch::Sender<Progress>) {
    for step in 1..=STEPS {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let doing = match step * 100 / STEPS {
            0..20 => "reading the images",
            20..70 => "resizing them",
            70..100 => "uploading them",
            _ => "finished",
        };
        progress.send_modify(|progress| {
            progress.step = step;
            progress.doing = doing;
        });
    }
}

/// The representation of a job at `/jobs`.
#[derive(Serialize)]
struct Job {
    id: usize,
    url: String,
    events: String,
    progress: Progress,
}

impl Job {
    fn new(id: usize, progress: &watch::Receiver<Progress>) -> Self {
        Self {
            id,
            url: format!("/jobs/{id}"),
            events: format!("/jobs/{id}/events"),
            progress: progress.borrow().clone(),
        }
    }
}

async fn start_job(State(jobs): State<Jobs>) -> Result<impl IntoResponse, StatusCode> {
    let id = jobs.start().await;
    let job = find_job(Path(id), State(jobs)).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, job.url.clone())],
        job,
    ))
}

async fn find_job(
    Path(id): Path<usize>,
    State(jobs): State<Jobs>,
) -> Result<Json<Job>, StatusCode> {
    let progress = jobs.find(id).await.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(Job::new(id, &progress)))
}

async fn list_jobs(State(jobs): State<Jobs>) -> Json<Vec<Job>> {
    let jobs = jobs.0.read().await;
    let numbered = jobs.iter().enumerate();
    Json(
        numbered
            .map(|(at, progress)| Job::new(at + 1, progress))
            .collect(),
    )
}

/// Returns a router with the endpoint, and adds the endpoint to the description.
fn endpoints(api: &Api) -> Router<Jobs> {
    Router::new().sse(api.of(job_events))
}

fn app() -> Router {
    let api = Api::new("Progress", env!("CARGO_PKG_VERSION"));
    let script = [(header::CONTENT_TYPE, "text/javascript")];
    let client = (script, include_str!("clients/progress.js"));
    endpoints(&api)
        .route("/", get(Html(include_str!("progress.html"))))
        .route("/streams.js", get(client))
        .route("/openapi.json", api.json())
        .route("/streams", api.explorer("/openapi.json"))
        .route("/jobs", get(list_jobs).post(start_job))
        .route("/jobs/{id}", get(find_job))
        .with_state(Jobs::default())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    sse_runtime::serve(listener, app()).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sse_runtime::testing::{Client, Events};

    use super::*;

    /// Starts a job and returns the URL of its events.
    async fn start(client: &Client) -> String {
        let response = client.post("/jobs").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let job: Value = response.json().await;
        job["events"].as_str().unwrap().to_owned()
    }

    /// Reads one event and checks that its data and its id belong to this step.
    async fn expect_step(events: &mut Events, step: u64) {
        let event = events.expect_event().await;
        assert_eq!(event.event, "progress");
        assert_eq!(event.id, step.to_string());
        let progress: Value = event.json();
        assert_eq!(progress["step"], step);
        assert_eq!(progress["steps"], STEPS);
    }

    // With tokio's clock paused, the jobs' delays elapse as soon as every task is waiting.
    #[tokio::test(start_paused = true)]
    async fn new_jobs_have_a_location_and_progress() {
        let client = Client::new(app());
        let response = client.post("/jobs").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.header("location"), Some("/jobs/1"));
        let job: Value = response.json().await;
        assert_eq!(
            job,
            json!({
                "id": 1,
                "url": "/jobs/1",
                "events": "/jobs/1/events",
                "progress": { "step": 0, "steps": STEPS, "doing": "starting" },
            })
        );
        assert_eq!(client.get("/jobs/1").await.json::<Value>().await, job);
        assert_eq!(
            client.get("/jobs").await.json::<Value>().await,
            json!([job])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn steps_arrive_in_order_then_the_stream_stops() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).await.events();
        for step in 0..=STEPS {
            expect_step(&mut events, step).await;
        }
        assert_eq!(events.expect_event().await.event, "done");
        let id = events.last_event_id().to_owned();
        events.expect_end().await;

        // The browser reconnects with the last id and receives a 204.
        let again = client.get(&url).last_event_id(id).await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT);
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_jobs_are_not_found() {
        let client = Client::new(app());
        start(&client).await;
        for url in ["/jobs/2/events", "/jobs/0/events", "/jobs/2"] {
            let response = client.get(url).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readers_resume_after_the_last_seen_step() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).await.events();
        for step in 0..=3 {
            expect_step(&mut events, step).await;
        }
        let id = events.last_event_id().to_owned();
        events.disconnect().await;

        let mut events = client.get(&url).last_event_id(id).await.events();
        expect_step(&mut events, 4).await;
        expect_step(&mut events, 5).await;
    }

    #[tokio::test(start_paused = true)]
    async fn unparsable_ids_start_over() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).last_event_id("v1:9").await.events();
        expect_step(&mut events, 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_outlive_their_readers() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).await.events();
        expect_step(&mut events, 0).await;
        events.disconnect().await;

        tokio::time::sleep(Duration::from_secs(60)).await;
        let job: Value = client.get("/jobs/1").await.json().await;
        assert_eq!(job["progress"]["step"], STEPS);

        // A late reader gets the last step and `done`. A reader that has seen the last step gets
        // only `done`.
        let mut events = client.get(&url).await.events();
        expect_step(&mut events, STEPS).await;
        assert_eq!(events.expect_event().await.event, "done");
        let mut events = client.get(&url).last_event_id(STEPS).await.events();
        assert_eq!(events.expect_event().await.event, "done");
        events.expect_end().await;
    }

    /// `UPDATE_CLIENTS=1 cargo test -p examples --example progress` updates the description and
    /// the client, and then
    /// `UPDATE_CLIENTS=1 cargo xtask contract examples` updates the script.
    #[test]
    fn page_uses_the_generated_client() {
        let api = Api::new("Progress", env!("CARGO_PKG_VERSION"));
        drop(endpoints(&api));
        let document = format!("{:#}\n", api.document());
        for (extension, new) in [("ts", api.typescript()), ("json", document)] {
            let path = format!(
                "{}/clients/progress.{extension}",
                env!("CARGO_MANIFEST_DIR")
            );
            if std::env::var_os("UPDATE_CLIENTS").is_some() {
                std::fs::write(&path, &new).unwrap();
            }
            let is_current = std::fs::read_to_string(&path).unwrap() == new;
            assert!(is_current, "{path} is out of date");
        }
        assert_eq!(api.untyped(), [""; 0]);
        assert!(include_str!("progress.html").contains("of api.job_events("));
    }
}
