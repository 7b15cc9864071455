//! [`Generator`]: the user's function as a coroutine that produces a response.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Poll, ready},
};

use axum::response::Response;
use pin_project_lite::pin_project;

use crate::{
    config::Endpoint,
    event::{describe::Describe, frame::Frame, id::EventId, payload::Payload},
    generator::{
        exit::{End, Exit},
        handoff::Handoff,
        signature::Rejection,
        yielder::{Item, Yielder},
    },
    lifecycle::connection::Connection,
};

/// An endpoint's function as a type-erased coroutine. The coroutine is boxed once and never moves.
/// The handler polls it until the response begins. After that, the body polls it.
#[derive(Debug)]
#[must_use = "a generator does nothing unless a request drives it"]
pub struct Generator {
    pub(crate) coroutine: Coroutine,
    pub(crate) handoff: Handoff,
    /// Whether the function has statements that run before the response begins. These statements
    /// can still return a different response.
    pub(crate) prelude: bool,
}

/// A generator's outcome.
pub(crate) enum Ending {
    Finished,
    /// A task that belongs to the generator's stream has panicked.
    TaskPanicked,
    /// An error that occurred before the response began.
    Rejected(Response),
    /// An error that occurred in the stream. The closure writes the error for the client and logs
    /// it.
    Failed(WriteError),
}

/// Writes the event for an error in the stream. The endpoint determines the event's name.
type WriteError = Box<dyn FnOnce(&Handoff, &Endpoint) + Send>;

pub(crate) struct Coroutine {
    function: Pin<Box<dyn Future<Output = Ending> + Send>>,
}

impl Coroutine {
    #[inline]
    /// Polls the function and, once it has finished, checks the tasks that belong to its stream. A
    /// task may still be panicking after the function has read every value that the task sent.
    pub(crate) fn poll(
        &mut self,
        connection: &Connection,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Ending> {
        let ending = ready!(self.function.as_mut().poll(cx));
        if !matches!(ending, Ending::Finished) {
            return Poll::Ready(ending);
        }
        match connection.poll_tasks(cx) {
            Poll::Ready(true) => Poll::Ready(Ending::TaskPanicked),
            Poll::Ready(false) => Poll::Ready(Ending::Finished),
            Poll::Pending => {
                // The function has finished and must not be polled again. Replace it with a future
                // that returns the same result when the coroutine is next polled.
                self.function = Box::pin(async { Ending::Finished });
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coroutine")
    }
}

pin_project! {
    /// A function's coroutine and the conversion of its output into an [`Ending`]. An `async` block
    /// around the coroutine would store it twice: once as a captured variable and once as an
    /// awaited future.
    struct Ends<F, M> {
        #[pin]
        coroutine: F,
        meaning: Option<M>,
    }
}

impl<F, M> Ends<F, M>
where
    F: Future,
    M: FnOnce(F::Output) -> Ending,
{
    fn new(coroutine: F, meaning: M) -> Self {
        Self {
            coroutine,
            meaning: Some(meaning),
        }
    }
}

impl<F, M> Future for Ends<F, M>
where
    F: Future,
    M: FnOnce(F::Output) -> Ending,
{
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Ending> {
        let this = self.project();
        if let Poll::Ready(output) = this.coroutine.poll(cx)
            && let Some(meaning) = this.meaning.take()
        {
            return Poll::Ready(meaning(output));
        }
        Poll::Pending
    }
}

impl Generator {
    /// `impl Stream<Item = T>`.
    pub fn stream<T, F>(item: Item<T>, run: impl FnOnce(Yielder<T>) -> F) -> Self
    where
        F: Future<Output = ()> + 'static,
        F: Send, // `yield_!` awaits: put lock guards, `Rc`s and `RefCell` borrows in a block that ends before it
    {
        Self::new(item, false, |yielder| {
            Ends::new(run(yielder), |()| Ending::Finished)
        })
    }

    /// `impl Stream<Item = Result<T, E>>`.
    pub fn try_stream<T, E, F>(
        item: Item<T>,
        error: ErrorWriter<E>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, E>> + 'static,
        F: Send, // `yield_!` awaits: put lock guards, `Rc`s and `RefCell` borrows in a block that ends before it
        E: Send + 'static,
    {
        Self::new(item, false, |yielder| {
            Ends::new(run(yielder), |ended| match ended {
                Ok(End { .. }) => Ending::Finished,
                Err(failure) => failed(error, failure),
            })
        })
    }

    /// `Result<impl Stream<Item = T>, R>`.
    pub fn response<T, R, F>(
        item: Item<T>,
        Rejection { answer }: Rejection<R>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, R>> + 'static,
        F: Send, // `yield_!` awaits: put lock guards, `Rc`s and `RefCell` borrows in a block that ends before it
        R: 'static,
    {
        Self::new(item, true, |yielder| {
            Ends::new(run(yielder), move |ended| match ended {
                Ok(End { .. }) => Ending::Finished,
                Err(rejection) => Ending::Rejected(answer(rejection)),
            })
        })
    }

    /// `Result<impl Stream<Item = Result<T, E>>, R>`.
    pub fn try_response<T, E, R, F>(
        item: Item<T>,
        error: ErrorWriter<E>,
        Rejection { answer }: Rejection<R>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, Exit<R, E>>> + 'static,
        F: Send, // `yield_!` awaits: put lock guards, `Rc`s and `RefCell` borrows in a block that ends before it
        E: Send + 'static,
        R: 'static,
    {
        Self::new(item, true, |yielder| {
            Ends::new(run(yielder), move |ended| match ended {
                Ok(End { .. }) => Ending::Finished,
                Err(Exit::Response(rejection)) => Ending::Rejected(answer(rejection)),
                Err(Exit::Stream(failure)) => failed(error, failure),
            })
        })
    }

    fn new<T, F>(item: Item<T>, prelude: bool, run: impl FnOnce(Yielder<T>) -> F) -> Self
    where
        F: Future<Output = Ending> + Send + 'static,
    {
        let handoff = Handoff::default();
        let coroutine = run(Yielder::new(item, handoff.clone()));
        Self {
            coroutine: Coroutine {
                function: Box::pin(coroutine),
            },
            handoff,
            prelude,
        }
    }
}

/// The functions for a stream's error type: one writes an error for the client, and the other
/// describes the error for the log.
pub struct ErrorWriter<E> {
    item: Item<E>,
    describe: Describe<E>,
}

impl<E> ErrorWriter<E> {
    pub(crate) fn new<Kind>(describe: Describe<E>) -> Self
    where
        E: Payload<Kind>,
    {
        Self {
            item: Item::new(),
            describe,
        }
    }
}

impl<E> fmt::Debug for ErrorWriter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorWriter").finish_non_exhaustive()
    }
}

fn failed<E: Send + 'static>(ErrorWriter { item, describe }: ErrorWriter<E>, error: E) -> Ending {
    Ending::Failed(Box::new(move |handoff, endpoint| {
        handoff.write_error(|outgoing| {
            let start = outgoing.frames.buffer.len();
            let mut frame =
                Frame::of_value(&mut outgoing.frames.buffer).or_event(endpoint.error_event);
            if endpoint.sends_stop_ids() {
                frame = frame.or_stop(EventId::done(outgoing.ids.last.as_ref()));
            }
            item.encode(&error, &mut frame)?;
            let id = frame.finish();
            outgoing.wrote(id);
            let frame = String::from_utf8_lossy(&outgoing.frames.buffer[start..]);
            tracing::warn!(
                endpoint = endpoint.name,
                path = endpoint.path,
                error = describe(&error),
                frame = frame.trim_end(),
                "the generator returned an error; sent it to the client"
            );
            Ok(())
        });
    }))
}
