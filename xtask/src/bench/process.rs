//! [`Process`] is a running server, and [`wait_for`] waits until it has opened its port.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Whether the process has child processes. These exit if their parent is terminated by
    /// SIGTERM, but not if it is killed by SIGKILL.
    has_children: bool,
}

impl Process {
    /// Starts a process without child processes.
    pub(crate) fn alone(command: &mut Command) -> io::Result<Self> {
        Ok(Self {
            child: command.spawn()?,
            has_children: false,
        })
    }

    /// Starts a process that has child processes.
    pub(crate) fn with_children(command: &mut Command) -> io::Result<Self> {
        Ok(Self {
            child: command.spawn()?,
            has_children: true,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn has_exited(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_children {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let limit = Instant::now() + PATIENCE;
            while !self.has_exited() && Instant::now() < limit {
                thread::sleep(Duration::from_millis(5));
            }
        }
        // Ignore the error, because the process may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that was free when it was checked.
pub(crate) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Waits until connections to this port are accepted.
pub(crate) fn wait_for(port: u16) -> io::Result<()> {
    let limit = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        if Instant::now() > limit {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
