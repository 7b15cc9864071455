//! What stands behind `yield_!`: the value is pushed, then the generator waits until it is on its way.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU8, Ordering},
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::task::coop;
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
    },
};

/// The item of a stream, checked where the signature names it: how its values are written.
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

/// The generator's end of its stream.
#[derive(Debug)]
pub struct Yielder<T> {
    item: Item<T>,
    pub(crate) handoff: Handoff,
    /// The [`Stop`] after what was pushed last. Nobody else sees it: it is atomic for a reference to be held over an await.
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

    /// Marks that the response begins. The generator stops here once, so that what stood before it can still be told apart.
    pub fn begin(&self) -> Handover<'_> {
        self.handoff.begin();
        Handover::new(&self.handoff, Stop::UntilTaken as u8)
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

    /// Writes the frame of what can be nothing but the item, since its type is left open.
    pub fn push_item(&self, value: T) {
        self.push::<kind::Value>(value);
    }

    /// Another stream as a part of this one.
    pub fn part<S, Kind>(&self, stream: S) -> Part<'_, T, S, Infallible>
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
        Part {
            yielder: self,
            stream,
            push_next,
        }
    }

    /// Another stream, whose items may be errors, as a part of this one.
    pub fn try_part<S, E, Kind>(&self, stream: S) -> Part<'_, T, S, E>
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
        Part {
            yielder: self,
            stream,
            push_next,
        }
    }

    /// Waits until what was pushed is on its way.
    pub fn flushed(&self) -> Handover<'_> {
        Handover::new(&self.handoff, self.stop.load(Ordering::Relaxed))
    }
}

pin_project! {
    /// A stream in `yield_all!`: writes the frames of its items, each before the next is asked for, up to the first error.
    /// What waits of a topic is written together, see [`ItemByItem`].
    ///
    /// It is its own future, since an `async` block would hold the stream twice: as what it was given, and pinned.
    // What it takes to push an item is in the pointer, so that no bound is left here: one that is not met is reported
    // where this is made, and not again where it is awaited.
    #[must_use = "futures do nothing unless polled"]
    pub struct Part<'a, T, S, E> {
        yielder: &'a Yielder<T>,
        #[pin]
        stream: S,
        pub(crate) push_next: PushNext<T, S, E>,
    }
}

/// Writes what comes next of the stream; whether the generator has to stop behind it.
type PushNext<T, S, E> =
    fn(&Yielder<T>, Pin<&mut S>, &mut Context<'_>) -> Poll<Option<Result<bool, E>>>;

/// How a stream in `yield_all!` is written: item by item, unless its `Part` has a `push_all` of its own, which the compiler
/// prefers to that of a trait.
pub trait ItemByItem {
    /// The future that writes all of it.
    #[must_use = "futures do nothing unless polled"]
    fn push_all(self) -> Self;
}

impl<T, S, E> ItemByItem for Part<'_, T, S, E> {
    fn push_all(self) -> Self {
        self
    }
}

impl<T, S, E> Future for Part<'_, T, S, E> {
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let mut this = self.project();
        loop {
            // A cancellation point, see `guard`.
            let turn = ready!(coop::poll_proceed(cx));
            let next = ready!((this.push_next)(this.yielder, this.stream.as_mut(), cx));
            turn.made_progress();
            // No waker is kept, see `Handover`; or else it is the stream that wakes whoever asked.
            match next {
                Some(Ok(false)) => {}
                Some(Ok(true)) => return Poll::Pending,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<T, S, E> fmt::Debug for Part<'_, T, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

/// Stops the generator once, so that the body takes what was written.
///
/// The body polls the generator again only when what it took has been flushed, so the second poll is the flush.
/// Dropping it loses nothing: what was pushed is sent all the same.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Handover<'a> {
    _channel: &'a Handoff,
    stop: u8,
}

impl<'a> Handover<'a> {
    fn new(handoff: &'a Handoff, stop: u8) -> Self {
        Self {
            _channel: handoff,
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
            // No waker is kept: whoever polled the generator goes on to take what it wrote, and polls it again.
            UNTIL_TAKEN => Poll::Pending,
            // Every `yield_!` is a cancellation point, also one that has written nothing.
            YIELDS => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

/// What `yield_!` takes in a stream of `T`: a `T`, a `&T`, or an [`Event`] of either.
///
/// The parameter tells the kinds apart, and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what this stream yields; its item is `{T}`",
    label = "the item of this stream is `{T}`",
    note = "`yield_!` takes a `T`, a `&T`, an `Event<T>` or a topic's `Update<T>`, where `T` is the item in the signature; a stream goes to `yield_all!`",
    note = "take the value out of an `Option` first, as in `while let Some(value) = stream.next().await {{ yield_!(value) }}`, and out of a `Result` with `?` or `match`"
)]
pub trait Yield<T, Kind> {
    #[doc(hidden)]
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError>;
}

/// What `yield_all!` takes: a stream.
///
/// A trait of ours, since the message about axum's and tokio's lists their implementations and not the way out.
#[diagnostic::on_unimplemented(
    message = "`yield_all!` takes a stream, and `{Self}` is not one",
    label = "not a stream",
    note = "to yield the values of a collection or an iterator, write `for value in … {{ yield_!(value) }}`, or wrap it: `yield_all!(tokio_stream::iter(…))`",
    note = "a single value goes to `yield_!`, a receiver into its wrapper in `tokio_stream::wrappers`"
)]
pub trait Whole {
    /// What the stream yields.
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

/// What tells the values apart that `yield_!` takes.
pub mod kind {
    /// The item itself.
    #[derive(Debug)]
    pub enum Value {}
    /// A reference to the item.
    #[derive(Debug)]
    pub enum Reference {}
    /// An event of the item.
    #[derive(Debug)]
    pub enum Full {}
    /// An event of a reference to the item.
    #[derive(Debug)]
    pub enum FullReference {}
    /// An update of a topic.
    #[derive(Debug)]
    pub enum Shared {}
    /// A reference to an update of a topic.
    #[derive(Debug)]
    pub enum SharedReference {}
    /// An event that holds no JSON.
    #[derive(Debug)]
    pub enum WithoutJson {}
    /// A value of a stream that cannot fail.
    #[derive(Debug)]
    pub struct Plain<Kind>(Kind);
    /// A value of a stream that can.
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

/// What the items of the stream in `yield_all!` are: what `yield_!` takes, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "`yield_all!` cannot yield `{Self}`; the item of this stream is `{T}`, its error `{E}`",
    label = "the items of this stream do not fit",
    note = "`yield_all!` takes a stream of what `yield_!` takes, or of a `Result` of it whose error converts into `{E}`"
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
