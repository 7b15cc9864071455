//! A TCP relay in front of a server, which can cut all connections.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    cuts: watch::Sender<()>,
}

impl Relay {
    pub(crate) async fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let cuts = watch::Sender::new(());
        let senders = cuts.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = senders.subscribe();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        // Dropping the sockets closes both connections.
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self { addr, cuts })
    }

    /// Closes all connections. New connections are accepted.
    pub(crate) fn cut(&self) {
        self.cuts.send_replace(());
    }
}
