//! [`Publisher`]: publishes events through random nodes, and records every attempt.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::{client::Addresses, node::Publish};

/// An attempt to publish an event.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) at: Duration,
    pub(crate) node: usize,
    pub(crate) value: u64,
    pub(crate) key: Option<String>,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok(String),
    Unavailable(String),
    /// The event may be stored. The key is `None` if the node has not returned it.
    Unknown(Option<String>),
    Finished,
    Error(String),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_deref().unwrap_or("-");
        let seconds = self.at.as_secs_f64();
        write!(
            f,
            "{seconds:8.3} node {}: published {} with key {key}: {:?}",
            self.node, self.value, self.outcome
        )
    }
}

/// Sends requests to publish, and records their outcomes.
#[derive(Clone)]
pub(crate) struct Publishing {
    pub(crate) http: reqwest::Client,
    pub(crate) addresses: Addresses,
    pub(crate) start: Instant,
    pub(crate) attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Publishing {
    /// Publishes an event to `path` through a node. Returns `None` if the node is not running.
    pub(crate) async fn attempt(
        &self,
        node: usize,
        path: &str,
        event: &Publish,
    ) -> Option<Outcome> {
        let address = self.addresses.lock().unwrap()[node]?;
        let at = self.start.elapsed();
        let request = self.http.post(format!("http://{address}{path}"));
        let response = request.query(event).send().await;
        let outcome = match response {
            // Nothing was sent.
            Err(error) if error.is_connect() => return None,
            Err(_) => Outcome::Unknown(event.key.clone()),
            Ok(response) => match response.text().await {
                Ok(text) => parse(&text),
                Err(_) => Outcome::Unknown(event.key.clone()),
            },
        };
        self.attempts.lock().unwrap().push(Attempt {
            at,
            node,
            value: event.value,
            key: event.key.clone(),
            outcome: outcome.clone(),
        });
        Some(outcome)
    }

    pub(crate) fn nodes(&self) -> usize {
        self.addresses.lock().unwrap().len()
    }

    /// Returns the number of events that were confirmed.
    pub(crate) fn confirmed(&self) -> usize {
        let attempts = self.attempts.lock().unwrap();
        attempts
            .iter()
            .filter(|attempt| matches!(attempt.outcome, Outcome::Ok(_)))
            .count()
    }
}

fn parse(text: &str) -> Outcome {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.to_owned();
    match word {
        "ok" => Outcome::Ok(rest),
        "unavailable" => Outcome::Unavailable(rest),
        "unknown" => Outcome::Unknown(Some(rest)),
        "finished" => Outcome::Finished,
        _ => Outcome::Error(text.to_owned()),
    }
}

/// A task that publishes ascending values until it is stopped.
pub(crate) struct Publisher {
    is_over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Starts a task that publishes the values `first`, `first + step` and so on. Each value is
    /// published until it is confirmed. The pause between two values is `pace` on average.
    pub(crate) fn start(
        publishing: Publishing,
        path: &str,
        first: u64,
        step: u64,
        pace: Duration,
        mut rng: Rng,
    ) -> Self {
        let (sender, is_over) = watch::channel(false);
        let path = path.to_owned();
        let task = tokio::spawn(async move {
            for index in 0.. {
                let value = first + index * step;
                // One in four events is published without a key of its own.
                let key = (rng.u8(..4) > 0).then(|| format!("{:032x}", rng.u128(..)));
                let mut event = Publish {
                    value,
                    key,
                    ..Publish::default()
                };
                loop {
                    if *is_over.borrow() {
                        return;
                    }
                    let node = rng.usize(..publishing.nodes());
                    match publishing.attempt(node, &path, &event).await {
                        Some(Outcome::Ok(_) | Outcome::Finished) => break,
                        Some(Outcome::Unknown(None)) => break,
                        Some(Outcome::Unknown(key)) => event.key = key,
                        Some(Outcome::Unavailable(_)) | None => {}
                        Some(Outcome::Error(error)) => panic!("{error}"),
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                sleep(pace.mul_f64(0.5 + rng.f64())).await;
            }
        });
        Self {
            is_over: sender,
            task,
        }
    }

    /// Stops the task once its current attempt has ended.
    pub(crate) async fn stop(self) {
        self.is_over.send_replace(true);
        self.task.await.unwrap();
    }
}
