//! Tests topics and hubs, both against a model and on the wire.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod endpoints;
mod hub;
mod readers;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

/// Calls `test` with `cases` random inputs. All calls use the same runtime, because a log cannot be
/// used after the runtime in which it was opened has shut down.
fn check<S: Strategy>(runtime: &Runtime, cases: u32, inputs: &S, test: impl AsyncFn(S::Value)) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(inputs, |input| {
        runtime.block_on(test(input));
        Ok(())
    });
    outcome.unwrap();
}
