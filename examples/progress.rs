//! Jobs that outlive the page that started them, and a page that finds them again.
//!
//! ```sh
//! cargo run --example progress       # a page at http://127.0.0.1:3000
//! curl -i -X POST http://127.0.0.1:3000/jobs
//! curl -N http://127.0.0.1:3000/jobs/1/events
//! curl -N http://127.0.0.1:3000/jobs/1/events -H 'last-event-id: 20'
//! ```
#![allow(
    clippy::print_stdout,
    reason = "an example says where it can be looked at"
)]

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use serde::Serialize;
use sse_runtime::{Event, LastEventId, RouterExt, SseEvent, Stream, sse_endpoint};
use tokio::sync::{RwLock, watch};

const STEPS: u64 = 60;

/// How far a job is, as the event `progress`. One of these says all there is to know, so a reader that missed some needs
/// only the latest.
#[derive(Clone, Debug, SseEvent)]
struct Progress {
    /// The event's id as well: what the browser comes back with.
    #[sse(id)]
    step: u64,
    steps: u64,
    doing: &'static str,
}

/// The progress of a job, up to its end; a 404 if there is no such job.
///
/// A browser that lost the connection comes back with the id of the last step it has seen, and goes on behind it.
#[sse_endpoint("/jobs/{id}/events", retry = "1s")]
async fn job_events(
    Path(id): Path<usize>,
    last: LastEventId<u64>,
    State(jobs): State<Jobs>,
) -> Result<impl Stream<Item = Progress>, StatusCode> {
    // Before the first `yield_!`, `?` is an HTTP status: an `EventSource` takes a 404 for a no, and does not come back.
    let mut progress = jobs.find(id).await.ok_or(StatusCode::NOT_FOUND)?;

    // An id that cannot be read is as good as none: start from where the job is.
    let mut seen = last.ok();
    // The wait fails when the job has ended, and its last step has been seen. What it returns locks the channel, so it
    // is cloned at once: nobody else should wait while this reader is slow.
    while let Ok(now) = progress
        .wait_for(|now| Some(now.step) > seen)
        .await
        .map(|now| now.clone())
    {
        seen = Some(now.step);
        yield_!(now);
    }
    // A browser reconnects after every end. After this one it is answered 204, which stops it for good.
    yield_!(Event::done());
}

/// All jobs since the start of the program; a job's id is its place, counted from one.
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
        // A task of its own, which no request owns: it goes on whether somebody watches or not.
        tokio::spawn(work(progress));
        let mut jobs = self.0.write().await;
        jobs.push(watched);
        jobs.len()
    }

    async fn find(&self, id: usize) -> Option<watch::Receiver<Progress>> {
        self.0.read().await.get(id.checked_sub(1)?).cloned()
    }
}

/// The job itself: it says where it is, and knows nothing of who reads it.
async fn work(progress: watch::Sender<Progress>) {
    for step in 1..=STEPS {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let doing = match step * 100 / STEPS {
            0..20 => "reading the pictures",
            20..70 => "making them smaller",
            70..100 => "uploading them",
            _ => "finished",
        };
        progress.send_modify(|progress| {
            progress.step = step;
            progress.doing = doing;
        });
    }
}

/// A job, as `/jobs` shows it.
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

fn app() -> Router {
    Router::new()
        .route("/", get(Html(include_str!("progress.html"))))
        .route("/jobs", get(list_jobs).post(start_job))
        .route("/jobs/{id}", get(find_job))
        .sse(job_events)
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

    /// Starts a job, and returns where its events are.
    async fn start(client: &Client) -> String {
        let response = client.post("/jobs").await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let job: Value = response.json().await;
        job["events"].as_str().unwrap().to_owned()
    }

    /// Reads one event, and checks that it is this step under its own id.
    async fn expect_step(events: &mut Events, step: u64) {
        let event = events.expect_event().await;
        assert_eq!(event.event, "progress");
        assert_eq!(event.id, step.to_string());
        let progress: Value = event.json();
        assert_eq!(progress["step"], step);
        assert_eq!(progress["steps"], STEPS);
    }

    // tokio's clock is paused in these tests: the jobs' delays pass as soon as everybody waits for them.
    #[tokio::test(start_paused = true)]
    async fn a_new_job_says_where_it_is() {
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
    async fn every_step_comes_in_order_and_then_the_end_for_good() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).await.events();
        for step in 0..=STEPS {
            expect_step(&mut events, step).await;
        }
        assert_eq!(events.expect_event().await.event, "done");
        let id = events.last_event_id().to_owned();
        events.expect_end().await;

        // The browser comes back with the id it has got, and is told to stop.
        let again = client.get(&url).last_event_id(id).await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_does_not_exist_is_a_404_and_not_a_stream() {
        let client = Client::new(app());
        start(&client).await;
        for url in ["/jobs/2/events", "/jobs/0/events", "/jobs/2"] {
            let response = client.get(url).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_goes_on_behind_the_last_step_it_has_seen() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).await.events();
        for step in 0..=3 {
            expect_step(&mut events, step).await;
        }
        let id = events.last_event_id().to_owned();
        events.leave().await;

        let mut events = client.get(&url).last_event_id(id).await.events();
        expect_step(&mut events, 4).await;
        expect_step(&mut events, 5).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_nobody_can_read_starts_over() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).last_event_id("v1:9").await.events();
        expect_step(&mut events, 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_outlives_its_readers() {
        let client = Client::new(app());
        let url = start(&client).await;
        let mut events = client.get(&url).await.events();
        expect_step(&mut events, 0).await;
        events.leave().await;

        tokio::time::sleep(Duration::from_secs(60)).await;
        let job: Value = client.get("/jobs/1").await.json().await;
        assert_eq!(job["progress"]["step"], STEPS);

        // Who comes late gets the last step and the end; who had seen it, only the end.
        let mut events = client.get(&url).await.events();
        expect_step(&mut events, STEPS).await;
        assert_eq!(events.expect_event().await.event, "done");
        let mut events = client.get(&url).last_event_id(STEPS).await.events();
        assert_eq!(events.expect_event().await.event, "done");
        events.expect_end().await;
    }
}
