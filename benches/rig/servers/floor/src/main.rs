//! A lower bound for the cost of a server. The server uses one thread, epoll, and one `send` call
//! per subscriber and event. The code is written by hand for this single purpose and does as little
//! as possible.
//!
//! A burst is sent in writes of 64 KiB. With the `each` argument, every event is written
//! separately.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    net::{AddressFamily, SocketType, bind, listen, socket, sockopt::set_socket_reuseaddr},
};

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
    transfer-encoding: chunked\r\n\r\n";

const SECOND: u64 = 1_000_000_000;

/// The maximum size of a write during a burst, in bytes.
const SHARED: usize = 64 * 1024;

/// The maximum number of bytes buffered for a client that has stopped reading.
const WAITING: usize = 1024 * 1024;

/// The file descriptor of a client's socket, which identifies the client.
type Key = usize;

struct Client {
    socket: TcpStream,
    kind: Kind,
    /// Bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
    sent: usize,
}

enum Kind {
    /// The client has not sent a request yet.
    New,
    /// The client receives published events. Contains its index in `subscribers`.
    FanOut(usize),
    Tick,
    /// The client receives one event immediately.
    First,
    Burst {
        next: u64,
        count: u64,
    },
}

struct Floor {
    epoll: OwnedFd,
    clients: HashMap<Key, Client>,
    subscribers: Vec<Key>,
    /// The timers, ordered by due time. Each timer consists of the due time, the client's key, and
    /// the number of the client's next event.
    timers: VecDeque<(u64, Key, u64)>,
    /// Events per second.
    rate: u64,
    /// When the next event is due.
    due: u64,
    published: u64,
    /// The number of open streams.
    open: i64,
    flushes_each: bool,
    chunk: Vec<u8>,
}

/// Appends one event as a chunk.
fn write_chunk(out: &mut Vec<u8>, seq: u64) {
    // The size of every frame has two hexadecimal digits. Reserve space for these digits, append
    // the frame, and then fill in the frame's size.
    let start = out.len();
    out.extend_from_slice(b"00\r\n");
    peer::write_frame(out, seq);
    let len = out.len() - start - 4;
    let digit = |value: usize| b"0123456789abcdef"[value & 15];
    out[start] = digit(len >> 4);
    out[start + 1] = digit(len);
    out.extend_from_slice(b"\r\n");
}

impl Client {
    /// Writes `bytes` and buffers the part that the socket does not accept. Returns `false` if the
    /// socket's buffer has just become full. The caller then starts to watch for the socket to
    /// become writable.
    fn send(&mut self, bytes: &[u8]) -> bool {
        if self.sent < self.unsent.len() {
            if self.unsent.len() < WAITING {
                self.unsent.extend_from_slice(bytes);
            }
            return true;
        }
        let sent = self.socket.write(bytes).unwrap_or_default();
        self.unsent.clear();
        self.unsent.extend_from_slice(&bytes[sent..]);
        self.sent = 0;
        self.unsent.is_empty()
    }

    /// Writes the buffered bytes. Returns `false` if the socket does not accept all of these bytes.
    fn send_rest(&mut self) -> bool {
        if self.sent == self.unsent.len() {
            return true;
        }
        self.sent += self
            .socket
            .write(&self.unsent[self.sent..])
            .unwrap_or_default();
        self.sent == self.unsent.len()
    }

    /// Writes a burst until the socket's buffer is full. Returns `true` once the whole burst has
    /// been written.
    fn burst(&mut self, flushes_each: bool) -> bool {
        loop {
            if !self.send_rest() {
                return false;
            }
            self.unsent.clear();
            self.sent = 0;
            let Kind::Burst { next, count } = &mut self.kind else {
                return true;
            };
            if *next > *count {
                return true;
            }
            let most = if flushes_each { 1 } else { SHARED - 128 };
            while *next < *count && self.unsent.len() < most {
                write_chunk(&mut self.unsent, *next);
                *next += 1;
            }
            if self.unsent.is_empty() || (*next == *count && !flushes_each) {
                self.unsent.extend_from_slice(b"0\r\n\r\n");
                *next = *count + 1;
            }
        }
    }
}

impl Floor {
    fn watch(&self, key: Key, flags: EventFlags) {
        let data = EventData::new_u64(key as u64);
        let socket = &self.clients[&key].socket;
        // The error can be ignored: it means that the client has disconnected, and the next epoll
        // event also reports the disconnect.
        let _ = epoll::modify(&self.epoll, socket, data, EventFlags::IN | flags);
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let key = usize::try_from(socket.as_raw_fd()).expect("a descriptor");
            epoll::add(
                &self.epoll,
                &socket,
                EventData::new_u64(key as u64),
                EventFlags::IN,
            )?;
            let client = Client {
                socket,
                kind: Kind::New,
                unsent: Vec::new(),
                sent: 0,
            };
            self.clients.insert(key, client);
        }
    }

    fn close(&mut self, key: Key) {
        let Some(client) = self.clients.remove(&key) else {
            return;
        };
        match client.kind {
            Kind::New => return,
            Kind::FanOut(index) => {
                self.subscribers.swap_remove(index);
                if let Some(moved) = self.subscribers.get(index)
                    && let Some(moved) = self.clients.get_mut(moved)
                {
                    moved.kind = Kind::FanOut(index);
                }
            }
            Kind::Tick | Kind::First | Kind::Burst { .. } => {}
        }
        self.open -= 1;
    }

    fn send(&mut self, key: Key, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(&key)
            && !client.send(bytes)
        {
            self.watch(key, EventFlags::OUT);
        }
    }

    fn readable(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        let mut request = [0; 4096];
        let Ok(len @ 1..) = client.socket.read(&mut request) else {
            return self.close(key);
        };
        let request = String::from_utf8_lossy(&request[..len]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let number = query
            .split_once('=')
            .and_then(|(_, value)| value.parse().ok());
        let number = number.unwrap_or(0);
        let kind = match path {
            "/fanout" | "/quiet" => {
                self.subscribers.push(key);
                Kind::FanOut(self.subscribers.len() - 1)
            }
            "/tick" => {
                self.timers.push_back((peer::now() + SECOND, key, 0));
                Kind::Tick
            }
            "/first" => Kind::First,
            "/burst" => Kind::Burst {
                next: 0,
                count: number,
            },
            _ => {
                if path == "/rate" {
                    self.rate = number;
                    self.due = peer::now();
                }
                return self.respond(key);
            }
        };
        client.kind = kind;
        self.open += 1;
        let mut head = HEAD.to_vec();
        if path == "/first" {
            write_chunk(&mut head, 0);
        }
        self.send(key, &head);
        if let Kind::Burst { .. } = self.clients[&key].kind {
            self.watch(key, EventFlags::OUT);
        }
    }

    fn respond(&mut self, key: Key) {
        let body = format!(
            "{{\"published\":{},\"open\":{}}}",
            self.published, self.open
        );
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
        self.send(
            key,
            format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes(),
        );
        self.close(key);
    }

    fn writable(&mut self, key: Key) {
        let flushes_each = self.flushes_each;
        if let Some(client) = self.clients.get_mut(&key) {
            let is_done = match client.kind {
                Kind::Burst { .. } => client.burst(flushes_each),
                _ => client.send_rest(),
            };
            if is_done {
                self.watch(key, EventFlags::empty());
            }
        }
    }

    fn send_event(&mut self, seq: u64, to: impl IntoIterator<Item = Key>) {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        write_chunk(&mut chunk, seq);
        for key in to {
            self.send(key, &chunk);
        }
        self.chunk = chunk;
    }

    /// Sends every event that is due. Returns the time until the next event is due, in nanoseconds.
    fn send_due(&mut self) -> u64 {
        let now = peer::now();
        if self.rate > 0 && now >= self.due {
            let subscribers = std::mem::take(&mut self.subscribers);
            self.send_event(self.published, subscribers.iter().copied());
            self.subscribers = subscribers;
            self.published += 1;
            self.due += SECOND / self.rate;
        }
        while let Some((due, key, seq)) = self.timers.front().copied()
            && due <= now
        {
            self.timers.pop_front();
            if let Some(Kind::Tick) = self.clients.get(&key).map(|client| &client.kind) {
                self.send_event(seq, [key]);
                self.timers.push_back((due + SECOND, key, seq + 1));
            }
        }
        let next = self.timers.front().map_or(u64::MAX, |(due, ..)| *due);
        let next = if self.rate > 0 {
            next.min(self.due)
        } else {
            next
        };
        next.saturating_sub(peer::now()).min(SECOND)
    }
}

/// Creates a listener with a larger backlog than the standard library uses.
fn listener(port: u16) -> io::Result<TcpListener> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&listener, true)?;
    bind(
        &listener,
        &std::net::SocketAddr::from(([127, 0, 0, 1], port)),
    )?;
    listen(&listener, 1024)?;
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn main() -> io::Result<()> {
    /// A key that cannot be a file descriptor.
    const LISTENER: u64 = u64::MAX;
    let listener = listener(peer::port())?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut floor = Floor {
        epoll,
        clients: HashMap::new(),
        subscribers: Vec::new(),
        timers: VecDeque::new(),
        rate: 0,
        due: 0,
        published: 0,
        open: 0,
        flushes_each: peer::has_flag("each"),
        chunk: Vec::new(),
    };
    let nothing = Event {
        flags: EventFlags::empty(),
        data: EventData::new_u64(0),
    };
    let mut events = [nothing; 256];
    loop {
        // Round up to a whole millisecond, so that the loop does not wake up shortly before the
        // next event is due and then spin.
        let wait = floor.send_due().next_multiple_of(1_000_000);
        let limit = Timespec {
            tv_sec: (wait / SECOND).cast_signed(),
            tv_nsec: (wait % SECOND).cast_signed(),
        };
        let ready = match epoll::wait(&floor.epoll, &mut events[..], Some(&limit)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..ready] {
            let (flags, key) = (event.flags, event.data.u64());
            if key == LISTENER {
                floor.accept(&listener)?;
                continue;
            }
            let key = usize::try_from(key).expect("a descriptor");
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                floor.readable(key);
            }
            if flags.contains(EventFlags::OUT) {
                floor.writable(key);
            }
        }
    }
}
