//! [`FrameBuffer`]: frames that have been written but not taken yet.
//!
//! Most streams that read a topic send one shared frame at a time and never need a buffer of their
//! own. Other streams write all their frames into `buffer`. The contents of `lone` or `ahead` are
//! sent before those of `buffer`.
//!
//! | bytes written so far | size of the new shared frame | the frame is added |
//! | --- | --- | --- |
//! | none | any | to `lone`, without a copy |
//! | some | below 4 KiB | to `buffer`, as a copy |
//! | some | 4 KiB or more | to `ahead`, after the previous contents of the buffer, without a copy |

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// With `flush = "ready"`, the body must take the frames once this many bytes are buffered.
pub(crate) const DUE: usize = 32 * 1024;

/// The size in bytes above which a buffer is dropped when its contents are taken. If a larger
/// buffer were kept, its unused remainder would keep the whole allocation alive until the stream
/// ends.
const LARGE: usize = 64 * 1024;

/// Frames taken at once count as a burst if they exceed this many bytes. The buffer is dropped once
/// the burst is over. Otherwise, it would occupy memory while the stream is idle, possibly for
/// hours.
const BURST: usize = 8 * 1024;

/// The frame size in bytes at which sharing a frame becomes cheaper than copying it.
pub(crate) const SHARED: usize = 4 * 1024;

/// Frames that have been written but not taken yet. The buffer contains only complete frames.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    pub(crate) buffer: BytesMut,
    /// The bytes to send before `buffer`. These are large shared frames and any frames written
    /// before them.
    #[expect(clippy::box_collection, reason = "most streams never need it")]
    ahead: Option<Box<VecDeque<Bytes>>>,
    /// A shared frame, if it is the only frame not taken yet. While `lone` is set, `ahead` and
    /// `buffer` are empty.
    lone: Option<Bytes>,
    /// Whether the buffer has grown to hold a burst.
    had_burst: bool,
}

impl FrameBuffer {
    /// Adds a shared frame. If the buffer is empty or the frame is large, the frame is not copied,
    /// so clients still waiting for it share one copy.
    // Inlined along with the copy, because the copy is often the only work done for a topic event.
    #[inline]
    pub(crate) fn share(&mut self, frame: &Bytes) {
        self.settle();
        if frame.len() < SHARED && !self.buffer.is_empty() {
            self.buffer.extend_from_slice(frame);
        } else {
            self.share_apart(frame);
        }
    }

    /// Adds a shared frame that is either large or the first one in the buffer.
    fn share_apart(&mut self, frame: &Bytes) {
        if self.ahead.is_none() && self.buffer.is_empty() {
            self.lone = Some(frame.clone());
            return;
        }
        if frame.len() < SHARED {
            self.buffer.extend_from_slice(frame);
            return;
        }
        let ahead = self.ahead.get_or_insert_default();
        if !self.buffer.is_empty() {
            self.had_burst |= self.buffer.len() > BURST;
            ahead.push_back(self.buffer.split().freeze());
        }
        ahead.push_back(frame.clone());
    }

    /// Moves the frame in `lone`, if any, to `buffer` or `ahead` so that more frames can follow it.
    /// Small frames are sent together. Must be called before writing to `buffer`.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.lone.is_some() {
            self.settle_lone();
        }
    }

    fn settle_lone(&mut self) {
        if let Some(lone) = self.lone.take() {
            if lone.len() < SHARED {
                self.buffer.extend_from_slice(&lone);
            } else {
                self.ahead.get_or_insert_default().push_back(lone);
            }
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.lone.is_none() && self.ahead.is_none()
    }

    /// Returns whether no frame has been written since there were `before` bytes.
    #[inline]
    pub(crate) fn is_unchanged_since(&self, before: usize) -> bool {
        self.len() == before
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        let ahead = self.ahead.iter().flat_map(|ahead| ahead.iter());
        let ahead: usize = ahead.map(Bytes::len).sum();
        self.lone.as_ref().map_or(0, Bytes::len) + ahead + self.buffer.len()
    }

    /// Returns whether the frames must be taken before more are written.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= DUE
    }

    /// Takes the bytes to send next. These are all the bytes written so far, unless taking only
    /// some of them saves a copy.
    #[inline]
    pub(crate) fn take(&mut self) -> Bytes {
        match self.lone.take().or_else(|| self.take_ahead()) {
            Some(shared) => shared,
            // Splitting an empty buffer would allocate, and this method is called whenever a
            // generator waits.
            None if self.buffer.is_empty() => Bytes::new(),
            None => {
                let taken = self.buffer.split();
                self.had_burst |= taken.len() > BURST;
                if taken.len() > LARGE {
                    self.buffer = BytesMut::new();
                }
                taken.freeze()
            }
        }
    }

    fn take_ahead(&mut self) -> Option<Bytes> {
        let ahead = self.ahead.as_mut()?;
        let next = ahead.pop_front();
        if ahead.is_empty() {
            self.ahead = None;
        }
        next
    }

    /// Returns whether any frames are left to take.
    #[inline]
    pub(crate) fn has_rest(&self) -> bool {
        self.ahead.is_some() || !self.buffer.is_empty()
    }

    /// Releases the capacity that a burst needed. Must be called when the generator is waiting and
    /// all frames have been taken.
    #[inline]
    pub(crate) fn shrink_after_burst(&mut self) {
        if std::mem::take(&mut self.had_burst) {
            self.buffer = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    fn write(frames: &mut FrameBuffer, len: usize) {
        frames.settle();
        // Grow the buffer as if a frame did not fit into the existing capacity.
        frames.buffer.reserve(2 * len);
        frames.buffer.put_bytes(b'x', len);
    }

    #[test]
    fn large_event_does_not_stay_in_memory() {
        let mut frames = FrameBuffer::default();
        write(&mut frames, 10);
        assert_eq!(frames.take().len(), 10);
        assert!(frames.buffer.capacity() > 0, "a small buffer is reused");

        write(&mut frames, LARGE + 1);
        assert_eq!(frames.take().len(), LARGE + 1);
        assert_eq!(frames.buffer.capacity(), 0);
    }

    #[test]
    fn burst_does_not_stay_in_memory_after_it_is_over() {
        let mut frames = FrameBuffer::default();
        write(&mut frames, DUE);
        assert!(frames.is_full());
        assert_eq!(frames.take().len(), DUE);
        assert!(!frames.has_rest());
        assert!(frames.buffer.capacity() > 0, "the burst may continue");

        write(&mut frames, 10);
        assert_eq!(frames.take().len(), 10);
        frames.shrink_after_burst();
        assert_eq!(frames.buffer.capacity(), 0);
    }

    #[test]
    fn burst_before_large_frame_does_not_stay_in_memory() {
        let mut frames = FrameBuffer::default();
        write(&mut frames, BURST + 1);
        frames.share(&Bytes::from(vec![b'x'; SHARED]));
        assert_eq!(frames.take().len(), BURST + 1);
        assert!(frames.has_rest());
        assert_eq!(frames.take().len(), SHARED);
        assert!(!frames.has_rest());
        frames.shrink_after_burst();
        assert_eq!(frames.buffer.capacity(), 0);
    }
}
