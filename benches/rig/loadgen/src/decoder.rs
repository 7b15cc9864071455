//! [`Decoder`] decodes the bytes of one HTTP/1.1 response into events.

use memchr::{memchr, memchr_iter, memmem};

use crate::histogram::Histogram;

/// The totals over all streams.
pub(crate) struct Totals {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// The number of events per latency sample. `None` disables sampling.
    pub(crate) sample_every: Option<u64>,
    pub(crate) latency: Histogram,
    /// The time at which the current bytes were read.
    pub(crate) now: u64,
    /// The number of streams whose response head has arrived.
    pub(crate) ready: usize,
    /// The number of streams that have ended.
    pub(crate) ended: usize,
    pub(crate) errors: Vec<String>,
}

impl Totals {
    pub(crate) fn new(sample_every: Option<u64>) -> Self {
        Self {
            events: 0,
            bytes: 0,
            sample_every,
            latency: Histogram::new(),
            now: 0,
            ready: 0,
            ended: 0,
            errors: Vec::new(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Decoder {
    state: State,
    is_chunked: bool,
    /// An incomplete head or line.
    partial: Vec<u8>,
    has_data: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Head,
    /// The chunk size parsed so far.
    Size(u64),
    /// The number of bytes left in the chunk.
    Data(u64),
    AfterData,
    Ended,
}

impl Decoder {
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Handles a closed connection.
    pub(crate) fn eof(&mut self, totals: &mut Totals) {
        if !self.has_ended() {
            if self.is_chunked || self.state == State::Head {
                totals
                    .errors
                    .push("the response ended too early".to_owned());
            }
            self.end(totals);
        }
    }

    fn end(&mut self, totals: &mut Totals) {
        self.state = State::Ended;
        totals.ended += 1;
    }

    pub(crate) fn decode(&mut self, mut bytes: &[u8], totals: &mut Totals) {
        totals.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.head(bytes, totals),
                State::Size(size) => self.size(size, bytes, totals),
                State::Data(left) => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (data, rest) = bytes.split_at(len);
                    self.data(data, totals);
                    self.state = match left - len as u64 {
                        0 => State::AfterData,
                        left => State::Data(left),
                    };
                    rest
                }
                State::AfterData => {
                    let Some(end) = memchr(b'\n', bytes) else {
                        return;
                    };
                    self.state = State::Size(0);
                    &bytes[end + 1..]
                }
                State::Ended => return,
            };
        }
    }

    /// Decodes part of a body that does not use chunked encoding.
    pub(crate) fn decode_body(&mut self, data: &[u8], totals: &mut Totals) {
        totals.bytes += data.len() as u64;
        self.data(data, totals);
    }

    fn head<'a>(&mut self, bytes: &'a [u8], totals: &mut Totals) -> &'a [u8] {
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.partial, b"\r\n\r\n") else {
            return &[];
        };
        let head = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            let status = text.lines().next().unwrap_or_default();
            totals.errors.push(status.to_owned());
            self.end(totals);
            return &[];
        }
        self.is_chunked = text.contains("transfer-encoding: chunked");
        self.state = if self.is_chunked {
            State::Size(0)
        } else {
            State::Data(u64::MAX)
        };
        totals.ready += 1;
        &bytes[end + 4 - before..]
    }

    fn size<'a>(&mut self, mut size: u64, bytes: &'a [u8], totals: &mut Totals) -> &'a [u8] {
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if size == 0 => {
                    self.end(totals);
                    return &[];
                }
                b'\n' => {
                    self.state = State::Data(size);
                    return &bytes[index + 1..];
                }
                _ => {
                    if let Some(digit) = char::from(*byte).to_digit(16) {
                        size = size * 16 + u64::from(digit);
                    }
                }
            }
        }
        self.state = State::Size(size);
        &[]
    }

    fn data(&mut self, mut data: &[u8], totals: &mut Totals) {
        if !self.partial.is_empty() {
            let Some(end) = memchr(b'\n', data) else {
                self.partial.extend_from_slice(data);
                return;
            };
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&data[..end]);
            self.line(&line, totals);
            line.clear();
            self.partial = line;
            data = &data[end + 1..];
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', data) {
            self.line(&data[start..end], totals);
            start = end + 1;
        }
        self.partial.extend_from_slice(&data[start..]);
    }

    /// Decodes a line. An event has a `data` line and ends with an empty line. Comments are
    /// ignored.
    fn line(&mut self, line: &[u8], totals: &mut Totals) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            None if self.has_data => {
                self.has_data = false;
                totals.events += 1;
            }
            Some(b'd') => {
                self.has_data = true;
                if let Some(every) = totals.sample_every
                    && totals.events.is_multiple_of(every)
                    && let Some(sent) = timestamp(line)
                {
                    totals.latency.add(totals.now.saturating_sub(sent));
                }
            }
            _ => {}
        }
    }
}

/// Returns the payload's `t` field.
fn timestamp(line: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"t\":";
    let start = memmem::find(line, KEY)? + KEY.len();
    let digits = line[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_wherever_bytes_are_split() {
        let response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            1e\r\nid: 1\ndata: {\"seq\":0,\"t\":40}\n\n\r\n\
            d\r\n:\n\ndata: {\"t\"\r\n6\r\n:30}\n\n\r\n0\r\n\r\n";
        for cut in 0..response.len() {
            let mut totals = Totals::new(Some(1));
            totals.now = 50;
            let mut decoder = Decoder::default();
            decoder.decode(&response[..cut], &mut totals);
            decoder.decode(&response[cut..], &mut totals);
            assert_eq!(
                (totals.events, totals.ready, totals.ended),
                (2, 1, 1),
                "{cut}"
            );
            assert_eq!(totals.latency.quantile(0.5), 10);
            assert_eq!(totals.latency.quantile(1.0), 20);
            assert!(totals.errors.is_empty());
        }
    }

    #[test]
    fn decode_body_counts_events_that_are_split() {
        let body = b"id: 1\ndata: {\"t\":40}\n\n:\n\ndata: {\"t\":30}\n\n";
        for cut in 0..body.len() {
            let mut totals = Totals::new(None);
            let mut decoder = Decoder::default();
            decoder.decode_body(&body[..cut], &mut totals);
            decoder.decode_body(&body[cut..], &mut totals);
            assert_eq!(
                (totals.events, totals.bytes),
                (2, body.len() as u64),
                "{cut}"
            );
        }
    }
}
