//! [`Http2`] reads the streams of one HTTP/2 connection in one thread. It uses cleartext HTTP/2
//! with prior knowledge (h2c).

use std::{cell::RefCell, error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use h2::client::{self, ResponseFuture, SendRequest};
use http::{Request, StatusCode, header::ACCEPT};
use tokio::{
    net::TcpStream,
    runtime::{self, Runtime},
    time::timeout,
};

use crate::decoder::{Decoder, Totals};

/// Chromium's stream and connection windows, in bytes. If the client reads promptly, windows of
/// this size do not slow the server down.
const STREAM_WINDOW: u32 = 6 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 15 * 1024 * 1024;

/// A connection and the runtime that drives it on the current thread.
pub(crate) struct Http2 {
    address: SocketAddr,
    runtime: Runtime,
    requests: SendRequest<Bytes>,
}

impl Http2 {
    /// Opens a connection without sending a request.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let requests = runtime.block_on(async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let (requests, connection) = client::Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .enable_push(false)
                .handshake(socket)
                .await?;
            // The task's result can be ignored, because if the connection fails, all of its streams
            // fail with the same error.
            tokio::spawn(connection);
            Ok::<_, Box<dyn Error>>(requests)
        })?;
        Ok(Self {
            address,
            runtime,
            requests,
        })
    }

    /// Sends `streams` concurrent requests for `path` and reads every response to the end.
    ///
    /// Returns an error if a stream fails or if the responses have not ended within `limit`.
    pub(crate) fn burst(
        &self,
        streams: usize,
        path: &str,
        limit: Duration,
        totals: &mut Totals,
    ) -> Result<(), Box<dyn Error>> {
        let totals = RefCell::new(totals);
        let all = async {
            let mut requests = self.requests.clone();
            let mut responses = FuturesUnordered::new();
            for _ in 0..streams {
                let request = Request::get(format!("http://{}{path}", self.address))
                    .header(ACCEPT, "text/event-stream")
                    .body(())?;
                requests = requests.ready().await?;
                let (response, _) = requests.send_request(request, true)?;
                responses.push(read(response, &totals));
            }
            while let Some(read) = responses.next().await {
                read?;
            }
            Ok::<_, Box<dyn Error>>(())
        };
        self.runtime.block_on(async { timeout(limit, all).await })?
    }
}

/// Reads a response to the end, and immediately releases the flow-control capacity of each frame.
async fn read(
    response: ResponseFuture,
    totals: &RefCell<&mut Totals>,
) -> Result<(), Box<dyn Error>> {
    let response = response.await?;
    if response.status() != StatusCode::OK {
        return Err(response.status().to_string().into());
    }
    totals.borrow_mut().ready += 1;
    let mut body = response.into_body();
    let mut decoder = Decoder::default();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        let mut totals = totals.borrow_mut();
        totals.now = peer::now();
        decoder.decode_body(&data, &mut totals);
    }
    totals.borrow_mut().ended += 1;
    Ok(())
}
