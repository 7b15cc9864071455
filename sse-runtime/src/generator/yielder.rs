//! [`Yielder`]: implements `yield_!`. The generator writes a value and then waits until the body
//! has taken it.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU8, Ordering},
    task::{Context, Poll},
};

use tokio_stream::Stream;

use crate::{
    event::{
        event::{Event, NoJson},
        frame::{EncodeError, Frame},
        payload::Payload,
    },
    generator::{
        handoff::Handoff,
        outgoing::{Outgoing, Stop},
        part::{ItemByItem, Part},
    },
};

/// Represents the item type `T` of a stream and contains the function that encodes its items. `T`
/// is unbounded here; its bounds are checked where it appears in the endpoint's signature.
pub struct Item<T> {
    encode: Encode<T>,
}

type Encode<T> = fn(&T, &mut Frame<'_>) -> Result<(), EncodeError>;

impl<T> Item<T> {
    pub(crate) fn new<Kind>() -> Self
    where
        T: Payload<Kind>,
    {
        Self { encode: T::encode }
    }

    pub(crate) fn encode(&self, value: &T, frame: &mut Frame<'_>) -> Result<(), EncodeError> {
        (self.encode)(value, frame)
    }
}

impl<T> fmt::Debug for Item<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").finish_non_exhaustive()
    }
}

/// The generator's handle to its stream.
#[derive(Debug)]
pub struct Yielder<T> {
    item: Item<T>,
    pub(crate) handoff: Handoff,
    /// The [`Stop`] resulting from the last push. Only the generator accesses this field. It is
    /// atomic because the generator holds a reference to the yielder across awaits and is therefore
    /// `Send` only if the yielder is `Sync`.
    stop: AtomicU8,
}

impl<T> Yielder<T> {
    pub(crate) fn new(item: Item<T>, handoff: Handoff) -> Self {
        Self {
            item,
            handoff,
            stop: AtomicU8::new(Stop::No as u8),
        }
    }

    /// Marks the point where the response begins. The generator stops here once, which separates
    /// the statements that run before the response begins from the stream. If the response has
    /// already begun because the statements took too long, the generator does not stop, because the
    /// body would have nothing to take.
    pub fn begin(&self) -> Handover<'_> {
        let stop = match self.handoff.begin() {
            true => Stop::No,
            false => Stop::UntilTaken,
        };
        Handover::new(&self.handoff, stop as u8)
    }

    /// Writes the frame of `value`.
    pub fn push<Kind>(&self, value: impl Yield<T, Kind>) {
        let stop = self
            .handoff
            .write(|outgoing| value.write_to(outgoing, &self.item));
        self.stop.store(stop as u8, Ordering::Relaxed);
    }

    fn has_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) == Stop::UntilTaken as u8
    }

    /// Writes the frame of a value whose type must be inferred. The compiler can infer the type
    /// because this method accepts only the item type.
    pub fn push_item(&self, value: T) {
        self.push::<kind::Value>(value);
    }

    /// Returns a future that yields every item of another stream.
    pub fn part<S, Kind>(&self, stream: S) -> Part<'_, T, S, Infallible, ItemByItem>
    where
        S: Whole,
        S::Item: Yield<T, Kind>,
    {
        let push_next = |yielder: &Self, stream: Pin<&mut S>, cx: &mut Context<'_>| {
            let next = stream.poll_item(cx);
            next.map(|next| {
                next.map(|value| {
                    yielder.push(value);
                    Ok(yielder.has_to_stop())
                })
            })
        };
        Part::new(self, stream, push_next)
    }

    /// Returns a future that yields every item of another stream. The items may be errors.
    pub fn try_part<S, E, Kind>(&self, stream: S) -> Part<'_, T, S, E, ItemByItem>
    where
        S: Whole,
        S::Item: TryYield<T, E, Kind>,
    {
        let push_next = |yielder: &Self, stream: Pin<&mut S>, cx: &mut Context<'_>| {
            let next = stream.poll_item(cx);
            next.map(|next| {
                next.map(|value| {
                    value.push_to(yielder)?;
                    Ok(yielder.has_to_stop())
                })
            })
        };
        Part::new(self, stream, push_next)
    }

    /// Waits until the body has taken and flushed the pushed frames, if the generator must stop for
    /// them.
    pub fn flushed(&self) -> Handover<'_> {
        Handover::new(&self.handoff, self.stop.load(Ordering::Relaxed))
    }
}

/// A future that stops the generator once, which lets the body take the frames written so far.
///
/// The body polls the generator again only after those frames have been flushed, so this future is
/// ready the second time it is polled. If the future is dropped, the frames are still sent.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Handover<'a> {
    _handoff: &'a Handoff,
    stop: u8,
}

impl<'a> Handover<'a> {
    fn new(handoff: &'a Handoff, stop: u8) -> Self {
        Self {
            _handoff: handoff,
            stop,
        }
    }
}

impl Future for Handover<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        const UNTIL_TAKEN: u8 = Stop::UntilTaken as u8;
        const YIELDS: u8 = Stop::Yields as u8;
        match std::mem::replace(&mut self.stop, Stop::No as u8) {
            // No waker is needed. After this poll, the body takes the frames and polls the
            // generator again once they have been flushed.
            UNTIL_TAKEN => Poll::Pending,
            // Every `yield_!` is a cancellation point, so the generator stops even if no frame was
            // written. The body then has nothing to take, so the generator must be woken here.
            YIELDS => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

/// Values that `yield_!` accepts in a stream of `T`, including a `T`, a `&T`, and an [`Event`] of
/// either.
///
/// The `Kind` parameter distinguishes the kinds of values and is inferred.
#[diagnostic::on_unimplemented(
    message = "this stream cannot yield `{Self}`; its item is `{T}`",
    label = "this stream's item is `{T}`",
    note = "`yield_!` accepts a `T`, a `&T`, an `Event<T>` or a topic's `Update<T>`, where `T` is the item in the signature; use `yield_all!` for a stream",
    note = "take the value out of an `Option` first, as in `while let Some(value) = stream.next().await {{ yield_!(value) }}`, and out of a `Result` with `?` or `match`; to send the errors of a stream as events, make the item a `Result`; to abort the response if a relay fails, call `.abort_on_error()`"
)]
pub trait Yield<T, Kind> {
    #[doc(hidden)]
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError>;
}

/// A stream that `yield_all!` accepts.
///
/// This crate defines its own trait because the compiler's error message for `Stream` lists
/// implementations and does not suggest a fix.
#[diagnostic::on_unimplemented(
    message = "`yield_all!` requires a stream, but `{Self}` is not a stream",
    label = "not a stream",
    note = "to yield the values of a collection or an iterator, write `for value in … {{ yield_!(value) }}`, or wrap the iterator, as in `yield_all!(tokio_stream::iter(…))`",
    note = "use `yield_!` for a single value; wrap a receiver in the matching type from `tokio_stream::wrappers`"
)]
pub trait Whole {
    /// The stream's item type.
    type Item;

    #[doc(hidden)]
    fn poll_item(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>>;
}

#[diagnostic::do_not_recommend]
impl<S: Stream> Whole for S {
    type Item = S::Item;

    fn poll_item(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.poll_next(cx)
    }
}

/// The kinds of values accepted by `yield_!`. These kinds keep the implementations of `Yield` from
/// overlapping.
pub mod kind {
    /// The item itself.
    #[derive(Debug)]
    pub enum Value {}
    /// A reference to the item.
    #[derive(Debug)]
    pub enum Reference {}
    /// An event that contains the item.
    #[derive(Debug)]
    pub enum Full {}
    /// An event that contains a reference to the item.
    #[derive(Debug)]
    pub enum FullReference {}
    /// A topic update.
    #[derive(Debug)]
    pub enum Shared {}
    /// A reference to a topic update.
    #[derive(Debug)]
    pub enum SharedReference {}
    /// An event without JSON.
    #[derive(Debug)]
    pub enum WithoutJson {}
    /// An event from an upstream.
    #[derive(Debug)]
    pub enum Relayed {}
    /// A value, or an error that aborts the response.
    #[derive(Debug)]
    pub struct OrAbort<Kind>(Kind);
    /// An item from an infallible stream.
    #[derive(Debug)]
    pub struct Plain<Kind>(Kind);
    /// An item from a fallible stream.
    #[derive(Debug)]
    pub struct Fallible<Kind>(Kind);
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::Value> for T {
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError> {
        (&self).write_to(outgoing, item)
    }
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::Reference> for &T {
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError> {
        let mut frame = Frame::of_value(&mut outgoing.frames.buffer);
        item.encode(self, &mut frame)?;
        let id = frame.finish();
        outgoing.wrote(id);
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::Full> for Event<T> {
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError> {
        write_event(self, outgoing, |value, frame| item.encode(value, frame))
    }
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::FullReference> for Event<&T> {
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError> {
        write_event(self, outgoing, |value, frame| item.encode(value, frame))
    }
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::WithoutJson> for Event<NoJson> {
    fn write_to(self, outgoing: &mut Outgoing, _: &Item<T>) -> Result<(), EncodeError> {
        write_event(self, outgoing, |never, _| match *never {})
    }
}

fn write_event<T>(
    event: Event<T>,
    outgoing: &mut Outgoing,
    json: impl FnOnce(&T, &mut Frame<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let has_data = event.has_data();
    let id = event.encode(
        outgoing.ids.last.as_ref(),
        &mut outgoing.frames.buffer,
        json,
    )?;
    if has_data {
        outgoing.wrote(id);
    } else {
        outgoing.ids.remember(id);
    }
    Ok(())
}

/// Items accepted by `yield_all!`: the values accepted by `yield_!`, and `Result`s that contain
/// them.
#[diagnostic::on_unimplemented(
    message = "`yield_all!` cannot yield `{Self}`; this stream's item is `{T}`, and its error is `{E}`",
    label = "the items of this stream have the wrong type",
    note = "`yield_all!` accepts a stream of values that `yield_!` accepts, or of `Result`s with such values and errors that convert into `{E}`"
)]
pub trait TryYield<T, E, Kind> {
    #[doc(hidden)]
    fn push_to(self, yielder: &Yielder<T>) -> Result<(), E>;
}

#[diagnostic::do_not_recommend]
impl<T, E, V, Kind> TryYield<T, E, kind::Plain<Kind>> for V
where
    V: Yield<T, Kind>,
{
    fn push_to(self, yielder: &Yielder<T>) -> Result<(), E> {
        yielder.push(self);
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<T, E, V, X, Kind> TryYield<T, E, kind::Fallible<Kind>> for Result<V, X>
where
    V: Yield<T, Kind>,
    E: From<X>,
{
    fn push_to(self, yielder: &Yielder<T>) -> Result<(), E> {
        yielder.push(self?);
        Ok(())
    }
}
