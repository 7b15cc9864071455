//! [`free_ports`]: chooses the ports on which the programs listen.

use std::{io, net::TcpListener};

/// Returns distinct ports on which no process listens.
///
/// The ports are below the range from which the kernel chooses the ports of outgoing connections.
/// Otherwise, a connection could take the port of a program that was killed, and the program could
/// not be restarted.
///
/// # Errors
///
/// Returns an error if no ports are free.
pub fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    const ATTEMPTS: usize = 1_000;
    // Keep the listeners until all ports are chosen, so that no port is chosen twice.
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let mut attempts = (0..ATTEMPTS).filter_map(|_| {
            let port = fastrand::u16(20_000..32_000);
            let listener = TcpListener::bind(("127.0.0.1", port)).ok()?;
            Some((port, listener))
        });
        let (free, listener) = attempts
            .next()
            .ok_or_else(|| io::Error::other("no port between 20000 and 31999 is free"))?;
        *port = free;
        listeners.push(listener);
    }
    Ok(ports)
}
