//! [`Clients`] reads many streams in one thread.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    net::sockopt::set_socket_linger,
};

use crate::decoder::{Decoder, Totals};

/// The maximum number of unanswered requests while streams are being opened.
const UNANSWERED: usize = 128;

/// The time limit for opening streams.
const OPENING: Duration = Duration::from_secs(60);

pub(crate) struct Clients {
    pub(crate) totals: Totals,
    epoll: OwnedFd,
    clients: Vec<Client>,
    ready: Vec<Event>,
    buffer: Vec<u8>,
}

fn request(address: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n")
}

struct Client {
    socket: TcpStream,
    decoder: Decoder,
}

impl Clients {
    pub(crate) fn new(sample_every: u64) -> Self {
        let nothing = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        Self {
            totals: Totals::new(Some(sample_every)),
            epoll: epoll::create(CreateFlags::CLOEXEC).expect("an epoll instance"),
            clients: Vec::new(),
            ready: vec![nothing; 512],
            buffer: vec![0; 256 * 1024],
        }
    }

    /// Opens a connection without sending a request.
    pub(crate) fn connect(&mut self, address: SocketAddr) {
        match TcpStream::connect(address) {
            Ok(socket) => {
                socket.set_nonblocking(true).expect("a socket");
                let data = EventData::new_u64(self.clients.len() as u64);
                epoll::add(&self.epoll, &socket, data, EventFlags::IN)
                    .expect("a socket that is not registered yet");
                self.clients.push(Client {
                    socket,
                    decoder: Decoder::default(),
                });
            }
            Err(error) => self.totals.errors.push(format!("connect: {error}")),
        }
    }

    /// Sends a request on a connection that has not sent one yet.
    pub(crate) fn ask(&mut self, index: usize, address: SocketAddr, path: &str) {
        let request = request(address, path);
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        if let Err(error) = client.socket.write_all(request.as_bytes()) {
            self.totals.errors.push(format!("send: {error}"));
        }
    }

    /// Opens streams on these addresses in turn until `count` are open, and waits for their response
    /// heads. Returns how long this took.
    pub(crate) fn open(&mut self, count: usize, addresses: &[SocketAddr], path: &str) -> Duration {
        let start = Instant::now();
        let before = self.clients.len();
        let answered = |clients: &Self| {
            clients.totals.ready + clients.totals.errors.len() >= clients.clients.len()
        };
        while start.elapsed() < OPENING {
            let open = self.clients.len();
            if open >= count && answered(self) || self.totals.errors.len() > before + 100 {
                break;
            }
            if open < count && open < self.totals.ready + UNANSWERED {
                let address = addresses[open % addresses.len()];
                self.connect(address);
                self.ask(open, address, path);
            } else {
                self.poll(Duration::from_millis(20));
            }
        }
        start.elapsed()
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Reads all available data. Waits at most `limit` for data to arrive.
    pub(crate) fn poll(&mut self, limit: Duration) {
        let limit = Timespec::try_from(limit).expect("a short timeout");
        let Ok(ready) = epoll::wait(&self.epoll, &mut self.ready[..], Some(&limit)) else {
            return;
        };
        for event in &self.ready[..ready] {
            let index = usize::try_from(event.data.u64()).expect("an index");
            let client = &mut self.clients[index];
            match client.socket.read(&mut self.buffer) {
                Ok(0) => client.decoder.eof(&mut self.totals),
                Ok(len) => {
                    self.totals.now = peer::now();
                    client.decoder.decode(&self.buffer[..len], &mut self.totals);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.totals.errors.push(format!("receive: {error}"));
                    client.decoder.eof(&mut self.totals);
                }
            }
            if client.decoder.has_ended() {
                // The error can be ignored, because it only means that the socket has already been
                // removed.
                let _ = epoll::delete(&self.epoll, &client.socket);
            }
        }
    }

    pub(crate) fn poll_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.poll(left.clamp(Duration::from_millis(1), Duration::from_millis(50)));
        }
    }

    /// Opens a stream on a separate connection, reads its first event, and closes the stream.
    ///
    /// Returns the time from connecting to reading the event.
    pub(crate) fn first_event(&mut self, address: SocketAddr, path: &str) -> io::Result<Duration> {
        let start = Instant::now();
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(OPENING))?;
        socket.write_all(request(address, path).as_bytes())?;
        let mut decoder = Decoder::default();
        let before = self.totals.events;
        while self.totals.events == before {
            let len = socket.read(&mut self.buffer)?;
            decoder.decode(&self.buffer[..len], &mut self.totals);
            if len == 0 || decoder.has_ended() {
                return Err(io::Error::other("no event"));
            }
        }
        Ok(start.elapsed())
    }

    /// Closes all streams.
    pub(crate) fn close(&mut self) {
        self.clients.clear();
        self.totals.ready = 0;
    }
}

impl Drop for Clients {
    /// Resets the connections so that no port is left in `TIME_WAIT`.
    fn drop(&mut self) {
        for client in &self.clients {
            // If this fails, the socket is closed normally.
            let _ = set_socket_linger(&client.socket, Some(Duration::ZERO));
        }
    }
}
