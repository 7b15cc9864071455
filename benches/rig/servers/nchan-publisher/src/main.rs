//! Publishes to Nchan at the requested rate. Like the servers, the publisher responds to `/rate`
//! and `/stats`. Usage: `nchan-publisher PORT NGINX-PORT`.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

static RATE: AtomicU64 = AtomicU64::new(0);
static PUBLISHED: AtomicU64 = AtomicU64::new(0);

fn main() -> io::Result<()> {
    let nginx = std::env::args()
        .nth(2)
        .expect("the second argument must be nginx's port");
    let nginx: u16 = nginx.parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", peer::port()))?;
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // An error means that the client has disconnected.
            let _ = respond(socket, nginx);
        }
    });
    let mut connection = None;
    let mut due = peer::now();
    let mut seq = 0;
    loop {
        let rate = RATE.load(Relaxed);
        if rate == 0 {
            thread::sleep(Duration::from_millis(2));
            due = peer::now();
            continue;
        }
        thread::sleep(Duration::from_nanos(due.saturating_sub(peer::now())));
        due += 1_000_000_000 / rate;
        match post(&mut connection, nginx, seq) {
            Ok(()) => {
                seq += 1;
                PUBLISHED.store(seq, Relaxed);
            }
            Err(_) => connection = None,
        }
    }
}

fn respond(mut socket: TcpStream, nginx: u16) -> io::Result<()> {
    let mut request = String::new();
    let mut lines = BufReader::new(socket.try_clone()?);
    lines.read_line(&mut request)?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > "\r\n".len() {
        line.clear();
    }
    let mut open = 0;
    if let Some((_, rate)) = request.split_once("r=") {
        let digits = rate.split(' ').next().unwrap_or_default();
        RATE.store(digits.parse().unwrap_or_default(), Relaxed);
    } else {
        open = subscribers(nginx)?;
    }
    let published = PUBLISHED.load(Relaxed);
    let body = format!("{{\"published\":{published},\"open\":{open}}}");
    let len = body.len();
    write!(
        socket,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}"
    )
}

fn subscribers(nginx: u16) -> io::Result<i64> {
    let mut socket = TcpStream::connect(("127.0.0.1", nginx))?;
    socket.write_all(b"GET /nchan_status HTTP/1.0\r\n\r\n")?;
    let mut status = String::new();
    socket.read_to_string(&mut status)?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("subscribers: "));
    count
        .and_then(|count| count.trim().parse().ok())
        .ok_or_else(|| io::Error::other("the status page contains no subscriber count"))
}

fn post(connection: &mut Option<TcpStream>, nginx: u16, seq: u64) -> io::Result<()> {
    let socket = match connection {
        Some(socket) => socket,
        None => {
            let socket = TcpStream::connect(("127.0.0.1", nginx))?;
            socket.set_nodelay(true)?;
            connection.insert(socket)
        }
    };
    let mut frame = Vec::new();
    peer::write_frame(&mut frame, seq);
    // Nchan adds the framing.
    let value = &frame["data: ".len()..frame.len() - "\n\n".len()];
    let mut request = format!(
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        value.len()
    )
    .into_bytes();
    request.extend_from_slice(value);
    socket.write_all(&request)?;
    // The response is small enough to arrive in one read.
    let mut response = [0; 8192];
    match socket.read(&mut response)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
