//! [`StartError`]: the error returned if a program does not start.

use std::io;

/// The error returned if a program does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program could not be executed.
    #[error("failed to execute {name}; check that it is installed")]
    NotExecuted {
        /// The name of the program.
        name: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The program exited instead of listening on its port.
    #[error("{name} exited with {status}: {output}")]
    Exited {
        /// The name of the program.
        name: String,
        /// The exit status.
        status: std::process::ExitStatus,
        /// The output of the program.
        output: String,
    },
    /// The program is running, but does not respond.
    #[error("{name} does not respond on port {port}")]
    Unresponsive {
        /// The name of the program.
        name: String,
        /// The port that the program should listen on.
        port: u16,
    },
}
