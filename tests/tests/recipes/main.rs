//! Tests the recipes from the "Recipes" page (`sse-runtime/docs/recipes.md`) with real servers.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod abandoned;
mod cors;
mod listener;
mod normalize_path;
mod open_telemetry;
mod platforms;
mod replicas;
mod task_local;
mod values;
