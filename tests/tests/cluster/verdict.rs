//! The end of a scenario: waits until the clients have read everything, and checks all invariants.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    checker::{Checker, Reading, Rules},
    client::{Client, Mode},
    cluster::{Cluster, NODES, Run, TOPIC},
    history::Kind,
    log::Log,
    publisher::{Attempt, Outcome},
    redis_servers::PATIENCE,
};

impl Cluster {
    /// Removes all faults, waits until the clients have read everything, and checks all invariants.
    pub(crate) async fn finish(mut self, rules: Rules) {
        for client in &self.clients {
            client.set_mode(Mode::Stay);
        }
        self.stop_publishers().await;
        self.heal();
        for number in 0..NODES {
            if self.nodes[number].is_none() {
                self.start_node(number).await;
            }
        }
        self.balance();
        self.check(rules).await;
    }

    /// Waits until the clients have read everything, and checks all invariants.
    pub(crate) async fn check(self, rules: Rules) {
        let healed = Instant::now();
        let log = loop {
            let log = Log::read(&self.server, TOPIC).await;
            if self.have_read(log.newest()) || healed.elapsed() > PATIENCE {
                break log;
            }
            sleep(Duration::from_millis(20)).await;
        };
        let took = healed.elapsed();
        let readings: Vec<_> = self
            .clients
            .iter()
            .map(|client| Reading {
                client: client.name.clone(),
                items: client.history.items(),
            })
            .collect();
        let attempts: Vec<Attempt> = self.publishing.attempts.lock().unwrap().clone();
        let mut text = self.summary(&log, &attempts, took);
        if let Err(violation) = Checker::new(rules, &log, &attempts).check(&readings) {
            let (invariant, message) = (violation.invariant, violation.message);
            let unfinished = self
                .clients
                .iter()
                .filter(|client| !has_read(client, log.newest()));
            for client in unfinished {
                let _ = writeln!(text, "{} has not read everything", client.name);
            }
            let _ = write!(text, "{invariant}: {message}\n{}", violation.excerpt);
            panic!("{text}");
        }
        eprint_line(&text);
    }

    fn have_read(&self, newest: Option<&str>) -> bool {
        let mut clients = self.clients.iter();
        clients.all(|client| has_read(client, newest))
    }

    fn summary(&self, log: &Log, attempts: &[Attempt], took: Duration) -> String {
        let Run {
            scenario,
            server,
            seed,
        } = &self.run;
        let count = |is_wanted: fn(&Kind) -> bool| -> usize {
            let clients = self.clients.iter();
            clients.map(|client| client.history.count(is_wanted)).sum()
        };
        let confirmed = attempts.iter();
        let confirmed = confirmed.filter(|attempt| matches!(attempt.outcome, Outcome::Ok(_)));
        format!(
            "{scenario} on {server} with CLUSTER_SEED={seed}: {} attempts to publish, {} confirmed, \
             {} stored, {} clients, {} connections, {} events, {} gaps, tail after {took:?}\n",
            attempts.len(),
            confirmed.count(),
            log.events.len(),
            self.clients.len(),
            count(|kind| matches!(kind, Kind::Opened { .. })),
            count(|kind| matches!(kind, Kind::Event { .. })),
            count(|kind| matches!(kind, Kind::Gap { .. })),
        )
    }
}

fn has_read(client: &Client, newest: Option<&str>) -> bool {
    let last = client.history.last_id().unwrap_or_default();
    newest.is_none_or(|newest| last.strip_suffix("~done").unwrap_or(&last) == newest)
}

#[allow(clippy::print_stderr, reason = "reports what was seen")]
fn eprint_line(text: &str) {
    eprint!("{text}");
}
