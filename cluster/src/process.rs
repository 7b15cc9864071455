//! [`Process`]: a running program.

use std::{fs, io, process::ExitStatus, time::Duration};

use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use crate::{Program, StartError};

/// The time within which a program must respond after it has been started. This is much longer than
/// any of the programs takes to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
}

impl Process {
    /// Starts a program and waits until it responds.
    ///
    /// # Errors
    ///
    /// Returns an error if the program is not installed, if it exits, or if it does not respond
    /// within 30 seconds.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the program is killed.
    pub async fn start(program: Program) -> Result<Self, StartError> {
        let child = program.spawn().map_err(|source| StartError::NotExecuted {
            name: program.name().to_owned(),
            source,
        })?;
        let mut process = Self { program, child };
        process.responds().await?;
        Ok(process)
    }

    /// Returns the program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Returns the process id, or `None` if the process has exited.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the process exits.
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system does not return the status.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this method can be called again without losing the exit status.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the process, as `kill -9` does, and waits until it has exited.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot be killed.
    ///
    /// # Cancel safety
    ///
    /// The process is killed even if the future is dropped after its first poll.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Starts the program again after it has exited, with the same port and files, and waits until
    /// it responds.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the process may be running already.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.child = self
            .program
            .spawn()
            .map_err(|source| StartError::NotExecuted {
                name: self.program.name().to_owned(),
                source,
            })?;
        self.responds().await
    }

    async fn responds(&mut self) -> Result<(), StartError> {
        let name = || self.program.name().to_owned();
        let responds = async {
            while !self.program.responds().await {
                // Poll, since not every program signals that it is ready.
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            responds = timeout(PATIENCE, responds) => {
                responds.map_err(|_| StartError::Unresponsive {
                    name: name(),
                    port: self.program.port(),
                })
            }
            status = self.child.wait() => Err(match status {
                Ok(status) => StartError::Exited {
                    name: name(),
                    status,
                    output: fs::read_to_string(self.program.log()).unwrap_or_default(),
                },
                Err(source) => StartError::NotExecuted { name: name(), source },
            }),
        }
    }
}
