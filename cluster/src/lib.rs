//! Starts the programs of a cluster on this machine: Redis, Sentinel, HAProxy, and examples that
//! share a store. The binary `cluster` lets a person kill any of these programs and watch the
//! effect. The tests in `interop` and `examples` use this crate as well.

mod ports;
mod process;
mod program;
mod request;
mod start_error;

pub use ports::free_ports;
pub use process::Process;
pub use program::{Balance, Program};
pub use request::{down_servers, is_ready_to_fail_over, master_port};
pub use start_error::StartError;
