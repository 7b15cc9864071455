//! Checks that no resources are leaked, however many streams there are and however they end.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]
#![allow(clippy::print_stdout, reason = "the tests print their seed")]

use std::{path::Path, sync::Arc, time::Duration};

use fastrand::Rng;
use support::load::{
    Numbers, Process,
    ending::{CAUSES, Case, Cause, Clients, Gate},
    within,
};
use tokio::task::JoinSet;

async fn start() -> Process {
    let program = Path::new(env!("CARGO_BIN_EXE_soak"));
    Process::start(program, Duration::from_secs(2))
        .await
        .unwrap()
}

/// The clients of one wave. Their streams are open.
struct Wave {
    gate: Arc<Gate>,
    clients: JoinSet<Result<(), String>>,
}

impl Wave {
    fn begin(clients: &Arc<Clients>, cases: impl IntoIterator<Item = Case>) -> Self {
        let gate = Arc::new(Gate::new(false));
        let mut wave = JoinSet::new();
        for case in cases {
            let (clients, gate) = (Arc::clone(clients), Arc::clone(&gate));
            wave.spawn(async move { clients.run(case, &gate).await });
        }
        Self {
            gate,
            clients: wave,
        }
    }

    /// Waits until every client has reached the gate.
    async fn ready(&mut self) {
        let ready = self.gate.until_ready(self.clients.len());
        tokio::select! {
            waited = within("all clients to be ready", ready) => waited.unwrap(),
            Some(failed) = self.clients.join_next() => {
                panic!("a client finished too early: {failed:?}")
            }
        }
    }

    async fn ended(mut self) {
        while let Some(result) = within("a stream to end", self.clients.join_next())
            .await
            .unwrap()
        {
            result.unwrap().unwrap();
        }
    }
}

/// Returns a thousand cases over HTTP/1 and HTTP/2. All causes appear about equally often, and some
/// streams end before their first event.
fn thousand(wave: u64) -> impl Iterator<Item = Case> {
    (0..1_000).map(move |at| Case {
        cause: CAUSES[at % CAUSES.len()],
        http2: (at / CAUSES.len()).is_multiple_of(2),
        events: at as u64 / CAUSES.len() as u64 % 4,
        pace: Duration::ZERO,
        more: 0,
        wave,
    })
}

fn staying(clients: usize, rng: &mut Rng) -> Vec<Case> {
    let mut stays = || Case {
        pace: Duration::ZERO,
        ..Case::random(Cause::Shutdown, rng, 20)
    };
    (0..clients).map(|_| stays()).collect()
}

/// Stops the server while the `staying` clients are connected and the `others` are in the middle of
/// their cases.
async fn stop(server: Process, before: &Numbers, mut staying: Wave, others: Wave) -> Numbers {
    staying.ready().await;
    server.terminate().await.unwrap();
    staying.gate.open();
    staying.ended().await;
    let numbers = server.ended().await.unwrap();
    drop(others);
    assert_eq!(numbers.left(&before.stopped()), [""; 0]);
    assert_eq!(numbers.unexplained(true), [""; 0]);
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_holds_nothing_after_twenty_thousand_streams() {
    const WAVES: u64 = 20;
    let server = start().await;
    let before = server.census().await.unwrap();
    let mut waves: Vec<Numbers> = Vec::new();
    for wave in 1..=WAVES {
        // Each wave opens new connections, so a leaked connection is noticed too.
        let clients = Arc::new(Clients::new(server.addr).await.unwrap());
        let mut streams = Wave::begin(&clients, thousand(wave));
        streams.ready().await;
        server.wave(wave).await.unwrap();
        streams.gate.open();
        streams.ended().await;
        drop(clients);
        waves.push(server.settled(&before).await.unwrap());
    }
    let first = &waves[0];
    let last = waves.last().unwrap();
    assert_eq!(last.unexplained(false), [""; 0]);
    // Some causes, such as sending only half a request head, do not start a stream. One of the 17
    // causes opens four streams.
    assert!(last.hooks_run > WAVES * 1_000, "{last:#?}");
    assert!(last.generators_at_most > 700, "{last:#?}");
    // The heap must not grow by even one byte per stream or connection.
    let grown = last.allocated.saturating_sub(first.allocated);
    assert!(
        grown < 16 * 1024,
        "the heap grew by {grown} bytes since the first thousand: {waves:#?}"
    );
    assert!(
        last.resident_kib * 10 < first.resident_kib * 11,
        "resident memory grew from {} to {} KiB: {waves:#?}",
        first.resident_kib,
        last.resident_kib
    );

    let clients = Arc::new(Clients::new(server.addr).await.unwrap());
    let staying = staying(200, &mut Rng::new());
    let staying = Wave::begin(&clients, staying);
    let mut others = Wave::begin(&clients, thousand(WAVES + 1));
    others.ready().await;
    stop(server, &before, staying, others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_once_after_ten_thousand_random_endings() {
    const AT_ONCE: usize = 400;
    const EACH: usize = 24;

    let seed = Rng::new().u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let server = start().await;
    let before = server.census().await.unwrap();
    let clients = Arc::new(Clients::new(server.addr).await.unwrap());
    let at_random = |rng: &mut Rng| Case::random(CAUSES[rng.usize(..CAUSES.len())], rng, 20);
    let mut at_work = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (clients, mut rng) = (Arc::clone(&clients), rng.fork());
        at_work.spawn(async move {
            let gate = Gate::new(true);
            for _ in 0..EACH {
                clients.run(at_random(&mut rng), &gate).await?;
            }
            Ok(())
        });
    }
    while let Some(result) = at_work.join_next().await {
        let result: Result<(), String> = result.unwrap();
        result.unwrap();
    }
    let connected = Numbers {
        runtime_tasks: before.runtime_tasks + clients.shared.len(),
        sockets: before.sockets + clients.shared.len(),
        ..before.clone()
    };
    let numbers = server.settled(&connected).await.unwrap();
    assert_eq!(numbers.unexplained(false), [""; 0]);

    // The remaining causes apply only when the server stops.
    let staying = Wave::begin(&clients, staying(AT_ONCE / 2, &mut rng));
    let cases: Vec<_> = (0..AT_ONCE / 2).map(|_| at_random(&mut rng)).collect();
    let others = Wave::begin(&clients, cases);
    others.gate.open();
    let numbers = stop(server, &before, staying, others).await;
    assert!(numbers.hooks_run > 9_000, "{numbers:#?}");
}
