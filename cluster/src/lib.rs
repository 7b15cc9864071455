//! Starts the programs of a cluster on this machine: Redis, Sentinel, HAProxy, and the examples
//! that share a store. The program `cluster` lets a person watch what happens if one of them is
//! killed, and the tests of `interop` and `examples` use the same programs.

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
