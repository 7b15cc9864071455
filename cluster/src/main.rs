//! Runs two servers of `ticker` and two of `chat`, with HAProxy in front of each pair. The servers
//! share a Redis server, which has a replica and three sentinels. Prints the command that kills
//! each process, and restarts a killed process after five seconds. `cargo xtask cluster` runs this
//! program.
#![allow(clippy::print_stdout, reason = "the program reports what happens")]

mod member;

use std::{collections::HashMap, error::Error, io, path::Path, time::Duration};

use cluster::{Balance, Process, Program, free_ports, is_ready_to_fail_over, master_port};
use member::{Member, report};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

// Descriptions of the visible effects of killing a process.
const REDIS: &str = "If you kill the master (initially redis 1), the prices stop for two to four seconds, \
    until the sentinels have promoted the replica. If you kill the replica, the pages are not affected";
const SENTINEL: &str =
    "The pages are not affected, because two sentinels suffice to promote a replica";
const TICKER: &str =
    "The pages that show this server's name reconnect to the other server without losing a price";
const CHAT: &str = "The pages reconnect to the other server. An answer that the killed server was writing \
    ends with a message after about ten seconds";
const HAPROXY: &str = "The pages reconnect once HAProxy is running again";

/// Becomes `true` when the program must stop.
type Stop = watch::Receiver<bool>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stop = stop()?;
    build_examples().await?;
    let directory = tempfile::tempdir()?;
    let mut members = JoinSet::new();
    let started = tokio::select! {
        started = start(directory.path(), &stop, &mut members) => started,
        () = stopped(stop.clone()) => Ok(()),
    };
    // The directory can be removed only after all processes have exited. If one of the programs did
    // not start, `shutdown` drops the other members, which kills their processes.
    if started.is_ok() {
        members.join_all().await;
    } else {
        members.shutdown().await;
    }
    directory.close()?;
    started
}

/// Returns a receiver that is notified on Ctrl-C and on SIGTERM.
fn stop() -> io::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        println!("\nstopping");
        sender.send_replace(true);
    });
    Ok(stop)
}

async fn stopped(mut stop: Stop) {
    // The sender is dropped only after it has sent `true`.
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
}

async fn build_examples() -> Result<(), Box<dyn Error>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "examples"])
        .args(["--example", "ticker", "--example", "chat"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .await?;
    match built.success() {
        true => Ok(()),
        false => Err("failed to build the examples".into()),
    }
}

/// Starts all programs, explains how to kill them, and then reports when the sentinels choose
/// another master. Returns only if a program does not start.
async fn start(
    directory: &Path,
    stop: &Stop,
    members: &mut JoinSet<()>,
) -> Result<(), Box<dyn Error>> {
    let [redis_1, redis_2, sentinels @ .., ticker, chat] = free_ports::<7>()?;
    let [ticker_a, ticker_b, chat_a, chat_b] = free_ports()?;
    let mut all = Vec::new();
    let mut add = async |program: io::Result<Program>, effect| {
        let process = Process::start(program?).await?;
        all.push(Member { process, effect });
        Ok::<(), Box<dyn Error>>(())
    };

    let one = Program::redis("redis 1", directory, redis_1, None);
    add(one, REDIS).await?;
    let two = Program::redis("redis 2", directory, redis_2, Some(redis_1));
    add(two, REDIS).await?;
    for (number, port) in (1..).zip(sentinels) {
        let name = format!("sentinel {number}");
        let sentinel = Program::sentinel(&name, directory, port, redis_1);
        add(sentinel, SENTINEL).await?;
    }
    while !is_ready_to_fail_over(sentinels[0]).await {
        // Poll, because the sentinels do not announce that they have found each other.
        sleep(Duration::from_millis(50)).await;
    }
    let [first, second, third] = sentinels.map(|port| format!("127.0.0.1:{port}"));
    let store = format!("redis+sentinel://{first},{second},{third}/main");

    for (example, name, port, effect) in [
        ("ticker", "a", ticker_a, TICKER),
        ("ticker", "b", ticker_b, TICKER),
        ("chat", "a", chat_a, CHAT),
        ("chat", "b", chat_b, CHAT),
    ] {
        let server = Program::example(example, name, directory, port, &store);
        add(server, effect).await?;
    }
    for (example, port, servers) in [
        ("ticker", ticker, [ticker_a, ticker_b]),
        ("chat", chat, [chat_a, chat_b]),
    ] {
        let name = format!("haproxy of {example}");
        let balance = Balance::LeastConnections;
        let haproxy = Program::haproxy(&name, directory, port, servers, balance);
        add(haproxy, HAPROXY).await?;
    }

    println!(
        "Open these pages in a browser. Each page shows the server that it is connected to:\n"
    );
    println!("  ticker  http://127.0.0.1:{ticker}");
    println!("  chat    http://127.0.0.1:{chat}");
    println!(
        "\nKill any of these processes in another terminal, and watch the pages. A killed process is \
         restarted after {} s:\n",
        member::PAUSE.as_secs()
    );
    let mut effect = "";
    for member in &all {
        if member.effect != effect {
            effect = member.effect;
            println!("  {effect}:");
        }
        println!("    {}", member.command());
    }
    println!("\nPress Ctrl-C to stop everything.\n");
    report("everything is running");
    for member in all {
        members.spawn(member.supervise(stop.clone()));
    }
    let names = HashMap::from([(redis_1, "redis 1"), (redis_2, "redis 2")]);
    watch_master(sentinels, redis_1, &names).await
}

/// Reports each time the sentinels choose another master.
async fn watch_master(
    sentinels: [u16; 3],
    mut current: u16,
    names: &HashMap<u16, &str>,
) -> Result<(), Box<dyn Error>> {
    loop {
        for sentinel in sentinels {
            // If a sentinel has been killed, another one knows the master.
            if let Ok(master) = master_port(sentinel).await {
                if master != current {
                    let name = names.get(&master).unwrap_or(&"another server");
                    report(&format!("the sentinels have promoted {name} to master"));
                    current = master;
                }
                break;
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}
