//! Runs a [`Server`] on a bound listener until the server has shut down.

use std::{future::Future, pin::Pin, sync::atomic::Ordering};

use tokio::time::timeout;

#[cfg(feature = "tls")]
use crate::server::tls::Tls;
use crate::{
    lifecycle::shutdown::{Shutdown, Signal, Signals},
    server::{
        connection_task::ConnectionContext, connections::Connections, listener::Listener,
        server::Server,
    },
};

impl Server {
    /// Serves on a bound listener. The future is boxed so that it is compiled once, as part of this
    /// crate, rather than in every program that uses the crate.
    pub(super) fn serve_on(
        self,
        mut listener: Listener,
        mut signals: Signals,
        #[cfg(feature = "tls")] tls: Option<Tls>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let times = self.shutdown_times;
            let shutdown = self
                .shutdown
                .unwrap_or_else(|| Shutdown::within(times.drain));
            let connections = Connections::new(ConnectionContext {
                app: self.app,
                max_streams: self.max_streams,
                timeouts: self.timeouts,
                shutdown: shutdown.clone(),
                takeover: self.takeover,
                #[cfg(feature = "tls")]
                tls,
            });

            let stopping = async {
                let signal = signals.next().await;
                if signal == Signal::Terminate {
                    tracing::info!(
                        drain_delay = ?times.drain_delay,
                        drain = ?times.drain,
                        close_hooks = ?times.hooks,
                        "received SIGTERM: the server is no longer ready, accepts connections for \
                         another {:?}, and exits within {:?} at the latest; the platform must \
                         allow that long",
                        times.drain_delay,
                        times.total()
                    );
                    self.is_ready.store(false, Ordering::Relaxed);
                    tokio::select! {
                        () = tokio::time::sleep(times.drain_delay) => {}
                        // A second signal skips the delay and the drain.
                        _ = signals.next() => return,
                    }
                }
                shutdown.begin_within(signal.drain(times.drain));
                signals.next().await;
            };
            let serving = async {
                tokio::select! {
                    never = connections.accept(&mut listener) => match never {},
                    () = shutdown.begun() => {}
                }
                // Close the listener so that load balancers send new connections to another server.
                drop(listener);
                self.is_ready.store(false, Ordering::Relaxed);
                let drain = shutdown.left();
                let open = connections.count();
                tracing::info!(connections = open, ?drain, "draining");
                let closed = connections.closed();
                timeout(drain.saturating_add(times.last), closed)
                    .await
                    .is_ok()
            };
            let all_closed = tokio::select! {
                all_closed = serving => all_closed,
                () = stopping => false,
            };
            if !all_closed {
                tracing::warn!(
                    connections = connections.count(),
                    "closing connections that are still open after the drain time or a second signal"
                );
                // Unsent data is lost, but the streams end and their hooks run. A task that blocks
                // its thread cannot be aborted, so wait only for a limited time.
                shutdown.set_over();
                connections.abort();
                let _ = timeout(times.abort, connections.closed()).await;
            }
            shutdown.closed_within(times.hooks).await;
            tracing::info!("stopped");
        })
    }
}
