//! Runs random sequences of operations and faults.

mod client;
mod world;

use std::env;

use proptest::{collection::vec, prelude::*, test_runner::Config};

use world::{World, settle};

const NODES: usize = 2;

/// The number of events that each topic keeps. It is small, so that readers are overtaken.
const KEPT: usize = 8;

/// The number of clients.
const CLIENTS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    Open(usize),
    Publish(usize),
    /// The confirmation is lost before or after the event is stored. The publisher tries again with
    /// the same key.
    Retry {
        node: usize,
        is_stored: bool,
    },
    Finish(usize),
    /// A client connects to a node and sends its last id, if it has one.
    Connect {
        client: usize,
        node: usize,
    },
    /// A client reads some events.
    Read {
        client: usize,
        events: u8,
    },
    Deliver(usize),
    Drop(usize),
    Repeat(usize),
    Swap(usize),
    Lose(usize),
    Trim(usize),
    Forget,
    Down(usize),
    Up(usize),
    Cut(usize),
    /// The feed is restored. The node must then notice at once that it has missed records.
    Restore(usize),
    /// From now on, reads take their snapshots later and return later.
    Slow(u8, u8),
    /// Time passes, but less than the interval between checks.
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let node = || 0..NODES;
    prop_oneof![
        3 => node().prop_map(Op::Open),
        12 => node().prop_map(Op::Publish),
        2 => (node(), any::<bool>()).prop_map(|(node, is_stored)| Op::Retry { node, is_stored }),
        1 => node().prop_map(Op::Finish),
        6 => (0..CLIENTS, node()).prop_map(|(client, node)| Op::Connect { client, node }),
        8 => (0..CLIENTS, 1..5_u8).prop_map(|(client, events)| Op::Read { client, events }),
        12 => node().prop_map(Op::Deliver),
        2 => node().prop_map(Op::Drop),
        1 => node().prop_map(Op::Repeat),
        1 => node().prop_map(Op::Swap),
        2 => (1..4_usize).prop_map(Op::Lose),
        1 => (1..6_usize).prop_map(Op::Trim),
        1 => Just(Op::Forget),
        1 => node().prop_map(Op::Down),
        2 => node().prop_map(Op::Up),
        1 => node().prop_map(Op::Cut),
        2 => node().prop_map(Op::Restore),
        1 => (0..3_u8, 0..3_u8).prop_map(|(first, second)| Op::Slow(first, second)),
        1 => Just(Op::Wait),
    ]
}

/// Operations without faults. Each client stays with its node.
fn steady_op() -> impl Strategy<Value = Op> {
    let client = || 0..CLIENTS;
    prop_oneof![
        6 => (0..NODES).prop_map(Op::Publish),
        3 => client().prop_map(|client| Op::Connect { client, node: client % NODES }),
        6 => (client(), 1..5_u8).prop_map(|(client, events)| Op::Read { client, events }),
        8 => (0..NODES).prop_map(Op::Deliver),
        1 => (0..3_u8, 0..3_u8).prop_map(|(first, second)| Op::Slow(first, second)),
    ]
}

/// The topic's overflow policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Skip,
    Latest,
    LatestBy,
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        4 => Just(Policy::Skip),
        1 => Just(Policy::Latest),
        2 => Just(Policy::LatestBy),
    ]
}

fn run(ops: &[Op], policy: Policy, is_steady: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(policy);
        let mut reads = [0; NODES];
        if is_steady {
            world.open(0).await;
            world.open_while_publishing(1).await;
            reads = [0, 1].map(|node| world.server.reads(node));
            assert_eq!(reads[0], 1);
        }
        for op in ops {
            world.run(*op).await;
        }
        if is_steady {
            for (node, reads) in reads.into_iter().enumerate() {
                while world.server.deliver(node) {}
                settle().await;
                world.check_ring(node);
                // The log was read only when the topic was opened.
                assert_eq!(world.server.reads(node), reads);
            }
        }
        world.heal().await;
    });
}

fn config(cases: u32) -> Config {
    let set = env::var("CASES").ok().and_then(|cases| cases.parse().ok());
    Config {
        cases: set.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn clients_lose_nothing_without_a_gap(ops in vec(op(), 1..60), policy in policy()) {
        run(&ops, policy, false);
    }
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn steady_feed_is_followed_without_reads(ops in vec(steady_op(), 1..60)) {
        run(&ops, Policy::Skip, true);
    }
}

/// The engine has lost a topic's end, and has trimmed the first events that were stored in its place.
#[test]
fn topic_continues_after_a_lost_end() {
    let ops = [
        Op::Open(1),
        Op::Finish(1),
        Op::Open(0),
        Op::Lose(1),
        Op::Publish(0),
        Op::Publish(0),
        Op::Publish(0),
        Op::Trim(2),
        Op::Deliver(0),
        Op::Lose(1),
    ];
    // Without the last operation, the engine does not lose the topic's newest event.
    for ops in [&ops[..], &ops[..ops.len() - 1]] {
        run(ops, Policy::Skip, false);
    }
}

/// The engine has lost all events that a node holds, but still has an older event that the node has
/// evicted.
#[test]
fn older_events_are_read_again_after_a_loss() {
    let publishes = [Op::Publish(0); KEPT + 1];
    let ops = [&[Op::Open(0)], &publishes[..], &[Op::Lose(KEPT)]];
    run(&ops.concat(), Policy::Skip, false);
    // The log ends even before the events that the node has evicted.
    let publishes = [Op::Publish(0); KEPT + 2];
    let ops = [&[Op::Open(0)], &publishes[..], &[Op::Lose(KEPT + 1)]];
    run(&ops.concat(), Policy::Skip, false);
}
