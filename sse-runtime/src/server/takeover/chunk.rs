//! [`ChunkWriter`]: the stream data being written, in HTTP/1.1 chunks.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// The next item of a body.
#[derive(Debug)]
pub(crate) enum BodyItem {
    Data(Bytes),
    End,
}

/// The data being written, and how much of it has already been written.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    head: Bytes,
    data: Bytes,
    is_chunked: bool,
    /// Whether the body has ended and the last chunk must be written.
    is_last: bool,
    written: usize,
}

/// Maximum number of bytes copied into one buffer and written with a single `send`. For small
/// writes, copying is cheaper than a vectored write.
const COPY_MAX: usize = 24 * 1024;

thread_local! {
    /// The buffer for these copies. The copied data is needed only during a write, so all streams
    /// on a thread can share the buffer.
    static COPY_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl ChunkWriter {
    pub(crate) fn new(head: Bytes, is_chunked: bool) -> Self {
        Self {
            head,
            data: Bytes::new(),
            is_chunked,
            is_last: false,
            written: 0,
        }
    }

    /// Returns whether the data includes the last chunk.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Takes the next item, unless there is still data to write. An item can be taken before the
    /// head has been written, so that both are sent together.
    pub(crate) fn fill(&mut self, next: &mut Option<BodyItem>) {
        if self.data.is_empty() && !self.is_last {
            match next.take() {
                Some(BodyItem::Data(data)) => self.data = data,
                Some(BodyItem::End) => self.is_last = true,
                None => {}
            }
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() && self.data.is_empty() && !self.is_last {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut size = SizeLine::default();
            let parts = self.parts(&mut size);
            let len: usize = parts.iter().map(|part| part.len()).sum();
            if self.written == len {
                return Poll::Ready(Ok(()));
            }
            let written = if len - self.written <= COPY_MAX {
                COPY_BUFFER.with_borrow_mut(|copy| {
                    copy.clear();
                    // Only the unwritten part is copied, because the complete data may be much
                    // larger.
                    let mut written = self.written;
                    for part in parts {
                        let left = &part[written.min(part.len())..];
                        written -= part.len() - left.len();
                        copy.extend_from_slice(left);
                    }
                    socket.as_mut().poll_write(cx, copy)
                })
            } else {
                let mut parts = parts.map(IoSlice::new);
                let mut left = &mut parts[..];
                IoSlice::advance_slices(&mut left, self.written);
                socket.as_mut().poll_write_vectored(cx, left)
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
            if self.written == len {
                return Poll::Ready(Ok(()));
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.head = Bytes::new();
        self.data = Bytes::new();
        self.is_last = false;
        self.written = 0;
    }

    /// Returns the parts to send: the head, one chunk and the last chunk. Parts that are not needed
    /// are empty.
    fn parts<'a>(&'a self, size: &'a mut SizeLine) -> [&'a [u8]; 5] {
        let is_chunk = self.is_chunked && !self.data.is_empty();
        let size = if is_chunk {
            size.of(self.data.len())
        } else {
            b""
        };
        let end: &[u8] = if is_chunk { b"\r\n" } else { b"" };
        let last: &[u8] = if self.is_last && self.is_chunked {
            b"0\r\n\r\n"
        } else {
            b""
        };
        [&self.head, size, &self.data, end, last]
    }
}

/// The line before a chunk's data, with the chunk's size in hexadecimal. Formatted by hand, because
/// `write!` would account for a tenth of the time needed to send an event.
#[derive(Debug, Default)]
struct SizeLine([u8; 18]);

impl SizeLine {
    fn of(&mut self, mut len: usize) -> &[u8] {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let (digits, end) = self.0.split_at_mut(16);
        end.copy_from_slice(b"\r\n");
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = DIGITS[len % 16];
            len /= 16;
            if len == 0 {
                return &self.0[first..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A writer that accepts only a few bytes at a time.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let len = buf.len().min(self.room);
            self.taken.extend_from_slice(&buf[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn large_event_is_copied_piece_by_piece() {
        let data: Bytes = (0..1_000_000).map(|byte| (byte % 251) as u8).collect();
        let mut chunks = ChunkWriter {
            head: Bytes::from_static(b"head\r\n\r\n"),
            data: data.clone(),
            is_chunked: true,
            is_last: true,
            written: 0,
        };
        let mut narrow = Narrow {
            room: 999,
            taken: Vec::new(),
        };
        let mut cx = Context::from_waker(Waker::noop());
        let written = chunks.poll_write(Pin::new(&mut narrow), &mut cx);
        assert!(matches!(written, Poll::Ready(Ok(()))), "{written:?}");
        let whole = [&b"head\r\n\r\nF4240\r\n"[..], &data, b"\r\n0\r\n\r\n"].concat();
        assert!(
            narrow.taken == whole,
            "the written bytes differ from the frame"
        );
        let capacity = COPY_BUFFER.with_borrow(Vec::capacity);
        assert!(
            capacity <= 2 * COPY_MAX,
            "the thread keeps {capacity} bytes"
        );
    }

    #[test]
    fn size_line_is_hexadecimal() {
        for len in [1, 9, 10, 15, 16, 255, 256, 4096, 0xABCDEF, usize::MAX] {
            let expected = format!("{len:X}\r\n");
            assert_eq!(SizeLine::default().of(len), expected.as_bytes());
        }
    }
}
