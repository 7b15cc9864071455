//! Request heads that arrive slowly, are too large, or are not HTTP.

use std::{net::SocketAddr, time::Duration};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet, time::sleep};

use super::{
    Bystander, Got, HEADERS, LATE, LIMIT, PREFACE, SETTINGS, frame, get_frame, pour, read_all,
    send_and_read, server,
};

/// Sends `bytes` one byte at a time, and then repeats the last byte forever.
async fn drip(addr: SocketAddr, bytes: &[u8], pause: Duration) -> Got {
    let socket = TcpStream::connect(addr).await.unwrap();
    let (reads, mut writes) = socket.into_split();
    let bytes = bytes.to_vec();
    let dripping = tokio::spawn(async move {
        let last = *bytes.last().unwrap();
        for byte in bytes.into_iter().chain(std::iter::repeat(last)) {
            if writes.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    });
    let got = read_all(reads).await;
    dripping.abort();
    got
}

#[tokio::test]
async fn unfinished_head_times_out() {
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let pause = Duration::from_millis(30);
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    let half_a_frame = [&settings[..], &get_frame(1, "/clock")[..5]].concat();
    let half_a_head = [&settings[..], &frame(HEADERS, 0, 1, &[0x82])].concat();
    let got = tokio::join!(
        drip(addr, b"GET /clock HTTP/1.1\r\nx: ", pause),
        drip(addr, b"GET /", pause),
        drip(addr, PREFACE, Duration::from_millis(150)),
        send_and_read(addr, b""),
        send_and_read(addr, b"G"),
        send_and_read(addr, b"GET /clock HTTP/1.1\r\nhost: test\r\n"),
        send_and_read(addr, b"PR"),
        send_and_read(addr, b"PRI"),
        send_and_read(addr, &PREFACE[..20]),
        send_and_read(addr, PREFACE),
        send_and_read(addr, &settings),
        async {
            (
                send_and_read(addr, &half_a_frame).await,
                send_and_read(addr, &half_a_head).await,
            )
        },
        send_and_read(addr, b"GET /plain/1 HTTP/1.1\r\nhost: test\r\n\r\n"),
    );
    let (a, b, c, d, e, f, g, h, i, j, k, (l, m), idle) = got;
    assert_eq!(idle.status(), Some(200));
    let all = [a, b, c, d, e, f, g, h, i, j, k, l, m, idle];
    for (number, got) in all.iter().enumerate() {
        // The connection closes when the head times out, or when the client does not acknowledge a
        // PING in time.
        assert!(got.after > LIMIT / 2, "{number}: {got:?}");
        assert!(got.after < 2 * LIMIT + LATE, "{number}: {got:?}");
    }
    bystander.assert_undisturbed(addr).await;
}

#[tokio::test]
async fn oversized_head_is_rejected() {
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let fields: String = (0..200).map(|field| format!("x-{field}: y\r\n")).collect();
    let got = send_and_read(
        addr,
        format!("GET /plain/1 HTTP/1.1\r\n{fields}\r\n").as_bytes(),
    )
    .await;
    assert_eq!(got.status(), Some(431), "{got:?}");

    // The server's buffer holds 64 KiB.
    for (len, status) in [(50_000, 200), (100_000, 431)] {
        let head = format!("GET /plain/1 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(len));
        let got = send_and_read(addr, head.as_bytes()).await;
        // If the server closes a socket that has unread bytes, the kernel sends a reset, which may
        // discard the response.
        assert_eq!(got.status().unwrap_or(431), status, "{len}");
    }

    let connect = || async { TcpStream::connect(addr).await.unwrap() };
    let much = vec![b'x'; 64 * 1024];
    let (long_field, long_line, many_fields) = tokio::join!(
        async { pour(connect().await, b"GET /plain/1 HTTP/1.1\r\nx: ", &much).await },
        async { pour(connect().await, b"GET /", &much).await },
        async { pour(connect().await, b"GET /plain/1 HTTP/1.1\r\n", b"x: y\r\n").await },
    );
    for (_, got) in [long_field, long_line, many_fields] {
        // If the server closes a socket that has unread bytes, the kernel sends a reset, which may
        // discard the response.
        let status = got.status().unwrap_or(431);
        assert!((400..500).contains(&status), "{got:?}");
        assert!(got.after < LIMIT + LATE, "{got:?}");
    }
    bystander.assert_undisturbed(addr).await;
}

/// Returns pseudorandom bytes that are the same on every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    // xorshift64* (Marsaglia, Vigna).
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[tokio::test]
async fn bytes_that_are_not_http_are_rejected() {
    const POST: &[u8] = b"POST /unread HTTP/1.1\r\nhost: test\r\n";
    const CLIENT_HELLO: &[u8] =
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09";
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let post = |rest: &[u8]| [POST, rest].concat();

    // The server either responds with an error or closes the connection without a response.
    let mut rejected: Vec<Vec<u8>> = vec![
        CLIENT_HELLO.to_vec(),
        b"GET /plain/1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\n\r\n\r\n".to_vec(),
        b"PRINT /plain/1 HTTP/1.1\r\nhost: te st\r\n x: y\r\n\r\n".to_vec(),
        b"GET /plain/1 HTTP/1.1\r\nhost\r\n\r\n".to_vec(),
        b"GET /plain/1 HTTP/1.1\r\nx : y\r\n\r\n".to_vec(),
        b"GET /plain/1 HTTP/3.0\r\n\r\n".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        post(b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        post(b"content-length: 5, 6\r\n\r\nhello!"),
        post(b"content-length: -5\r\n\r\n"),
        post(b"content-length: 99999999999999999999\r\n\r\n"),
        post(b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        post(b"transfer-encoding: cow\r\n\r\n"),
    ];
    for seed in 0..24 {
        let noise = noise(seed, 1 + usize::try_from(seed).unwrap() * 150);
        rejected.push(noise.clone());
        rejected.push([b"GET /plain/1 HTTP/1.1\r\n", &noise[..]].concat());
        rejected.push([PREFACE, &noise[..]].concat());
        let settings = frame(SETTINGS, 0, 0, b"");
        rejected.push([PREFACE, &settings, &frame(HEADERS, 5, 1, &noise)].concat());
    }
    let mut saying = JoinSet::new();
    for bytes in rejected {
        saying.spawn(async move {
            let got = send_and_read(addr, &bytes).await;
            (bytes, got)
        });
    }
    while let Some(said) = saying.join_next().await {
        let (bytes, got) = said.unwrap();
        let bytes = String::from_utf8_lossy(&bytes);
        let status = got.status().unwrap_or(400);
        assert!((400..=505).contains(&status), "{bytes:?} {got:?}");
        assert!(got.after < 2 * LIMIT + LATE, "{bytes:?} {:?}", got.after);
    }

    // If the stream has already started when the invalid body arrives, the stream is cut off.
    for bad in [
        &b"transfer-encoding: chunked\r\n\r\nnonsense\r\n"[..],
        b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello!!!\r\n",
    ] {
        let got = send_and_read(addr, &post(bad)).await;
        assert!(!got.bytes.ends_with(b"0\r\n\r\n"), "{got:?}");
        assert!(got.after < LATE, "{got:?}");
    }

    // If a request has both framings, chunked encoding takes precedence (RFC 9112, section 6.3).
    // The bytes after the last chunk are not parsed as another request.
    let both = b"POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\
        transfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\nGET /plain/7 HTTP/1.1\r\nhost: test\r\n\r\n";
    let got = send_and_read(addr, both).await;
    let text = String::from_utf8_lossy(&got.bytes);
    assert!(text.contains("data: [1]"), "{text}");
    assert!(!text.contains("<7>"), "{text}");
    bystander.assert_undisturbed(addr).await;
}
