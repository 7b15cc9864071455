//! [`Member`]: a process that is restarted after it has been killed.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use cluster::Process;
use tokio::time::sleep;

use crate::{Stop, stopped};

/// The time after which a killed process is restarted. It is long enough for a failover, because
/// the sentinels need about two seconds to promote a replica.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Member {
    pub(crate) process: Process,
    /// A description of the visible effect of killing the process.
    pub(crate) effect: &'static str,
}

impl Member {
    /// Returns the command that kills the process, followed by the name of the program as a
    /// comment.
    pub(crate) fn command(&self) -> String {
        let id = self.process.id().unwrap_or_default();
        format!("kill -9 {id:<8} # {}", self.process.program().name())
    }

    /// Restarts the process whenever it exits. Kills the process when the cluster is stopped.
    pub(crate) async fn supervise(mut self, stop: Stop) {
        let name = self.process.program().name().to_owned();
        loop {
            tokio::select! {
                status = self.process.exited() => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    let pause = PAUSE.as_secs();
                    report(&format!("{name} has exited ({status}); restarting it in {pause} s"));
                }
                () = stopped(stop.clone()) => break,
            }
            let restarted = async {
                sleep(PAUSE).await;
                self.process.restart().await
            };
            let restarted = tokio::select! {
                restarted = restarted => restarted,
                () = stopped(stop.clone()) => break,
            };
            match restarted {
                Ok(()) => report(&format!("{name} is running again: {}", self.command())),
                Err(error) => report(&error.to_string()),
            }
        }
        // An error means that the process has already exited.
        let _ = self.process.kill().await;
    }
}

/// Prints a message with the number of seconds since the first message.
pub(crate) fn report(message: &str) {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    println!("{:4} s  {message}", START.elapsed().as_secs());
}
