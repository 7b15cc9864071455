//! [`Merged`]: a reader of several topics. The reader's ids contain its position in each topic.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Start,
    backend::{Delivery, Read, Reader, StartAt},
    batch::Batch,
};
use crate::{
    event::{
        gap::Gap,
        id::EventId,
        position::{MERGED_PREFIX, Position},
    },
    generator::run_failure::Failure,
};

/// The maximum length of an id in bytes. The length is limited because clients send the id back in
/// a header, and servers reject requests whose headers are too long.
const LONGEST: usize = 4_000;

/// Readers of several topics, polled in turn.
pub(crate) struct Merged<T> {
    readers: Vec<Named<T>>,
    /// The index of the reader to poll next.
    turn: usize,
    /// The part of a batch that has not been returned yet. Merged ids are longer than the ids they
    /// replace, so a batch may have to be split.
    rest: Option<Rest<T>>,
    /// The failure of an aborted run, if any.
    stop: Option<Arc<Failure>>,
}

/// The remainder of a reader's batch.
struct Rest<T> {
    reader: usize,
    batch: Arc<Batch<T>>,
    given: usize,
    /// Whether the reader has more events after the batch.
    more: bool,
}

struct Named<T> {
    /// The escaped name, as it appears in the id.
    name: String,
    reader: Box<dyn Reader<T>>,
    /// The id of the position after the last event read.
    position: EventId,
    has_ended: bool,
}

/// Escapes a name for use in an id.
pub(crate) fn escape(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

/// Returns whether an id with these escaped names is guaranteed not to exceed the maximum length.
/// If `is_marked` is `true`, the positions have marks.
pub(crate) fn fits(names: &[String], is_marked: bool) -> bool {
    let longest = match is_marked {
        true => Position::LONGEST_WITH_MARK,
        false => Position::LONGEST,
    };
    let lengths = names.iter().map(|name| name.len() + "=&".len() + longest);
    MERGED_PREFIX.len() + lengths.sum::<usize>() <= LONGEST
}

/// Returns whether the client's id is a merged id that lacks at least one of these names. If so,
/// the client must be sent its new position immediately. If it disconnected before receiving the
/// position, it would reconnect with the same id and lose the events published to the missing
/// topics in the meantime.
pub(crate) fn lacks_a_name(from: &StartAt, names: &[&str]) -> bool {
    let (StartAt::After(id) | StartAt::Done(id)) = from else {
        return false;
    };
    let Some(positions) = id.strip_prefix(MERGED_PREFIX) else {
        return false;
    };
    let held: HashSet<_> = form_urlencoded::parse(positions.as_bytes())
        .map(|(name, _)| name)
        .collect();
    names.iter().any(|name| !held.contains(*name))
}

/// Returns the names in the client's id, which is empty if the id is not a merged id. The names are
/// not escaped.
pub(crate) fn names(from: &StartAt) -> BTreeSet<String> {
    let (StartAt::After(id) | StartAt::Done(id)) = from else {
        return BTreeSet::new();
    };
    let positions = id.strip_prefix(MERGED_PREFIX).unwrap_or_default();
    form_urlencoded::parse(positions.as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}

/// Returns the starting position in a topic whose ids contain its name. The name is not escaped. An
/// id without names is a position in the topic. An id that names only other topics is unknown.
pub(crate) fn position_in(from: &StartAt, name: &str) -> StartAt {
    let (StartAt::After(id) | StartAt::Done(id)) = from else {
        return from.clone();
    };
    let Some(positions) = id.strip_prefix(MERGED_PREFIX) else {
        return from.clone();
    };
    let mut positions = form_urlencoded::parse(positions.as_bytes());
    match positions.find(|(of, _)| of == name) {
        Some((_, position)) if matches!(from, StartAt::Done(_)) => {
            StartAt::Done(position.into_owned())
        }
        Some((_, position)) => StartAt::After(position.into_owned()),
        None => StartAt::Unknown,
    }
}

/// Splits a merged position into one starting position per topic, in the order of `names`. The
/// names are not escaped.
pub(crate) fn split(from: &StartAt, start: Start, names: &[&str]) -> Vec<StartAt> {
    let each = |from: &StartAt| vec![from.clone(); names.len()];
    let (StartAt::After(id) | StartAt::Done(id)) = from else {
        return each(from);
    };
    let is_done = matches!(from, StartAt::Done(_));
    let Some(positions) = id.strip_prefix(MERGED_PREFIX) else {
        // If there is only one topic, the client may have sent an id of that topic instead of a
        // merged id.
        let is_one = names.len() == 1;
        return each(if is_one { from } else { &StartAt::Unknown });
    };
    let positions: HashMap<_, _> = form_urlencoded::parse(positions.as_bytes()).collect();
    let of = |name: &&str| match positions.get(*name) {
        Some(position) if is_done => StartAt::Done(position.clone().into_owned()),
        Some(position) => StartAt::After(position.clone().into_owned()),
        // The client was not reading this topic when it received its id.
        None => StartAt::Start(start),
    };
    names.iter().map(of).collect()
}

impl<T> Merged<T> {
    /// Creates a reader of these topics. The names must be escaped.
    pub(crate) fn new(readers: impl IntoIterator<Item = (String, Box<dyn Reader<T>>)>) -> Self {
        let named = |(name, reader): (String, Box<dyn Reader<T>>)| Named {
            name,
            position: reader.position(),
            reader,
            has_ended: false,
        };
        Self {
            readers: readers.into_iter().map(named).collect(),
            turn: 0,
            rest: None,
            stop: None,
        }
    }

    fn id(&self) -> EventId {
        let mut id = MERGED_PREFIX.to_owned();
        for (number, Named { name, position, .. }) in self.readers.iter().enumerate() {
            let separator = if number == 0 { "" } else { "&" };
            id.push_str(&format!("{separator}{name}={position}"));
        }
        // This cannot fail: the names are escaped, and `fits` has checked the length.
        EventId::new(id).unwrap_or_default()
    }
}

impl<T> Merged<T> {
    /// Returns as many of the remaining events as fit into one batch with merged ids.
    fn give(&mut self, mut rest: Rest<T>) -> Read<T> {
        let deliveries = rest.batch.deliveries().iter().skip(rest.given);
        let batch = Batch::of(deliveries.map(|delivery| {
            self.readers[rest.reader].position = delivery.id().clone();
            Delivery {
                id: Some(self.id()),
                ..delivery.clone()
            }
        }));
        // `Batch::of` may have consumed one more event than fits into the batch. The reader's
        // position is then too far ahead, so reset it to the last event in the batch.
        if let Some(last) = rest
            .batch
            .deliveries()
            .get(rest.given + batch.deliveries().len() - 1)
        {
            self.readers[rest.reader].position = last.id().clone();
        }
        rest.given += batch.deliveries().len();
        let is_rest = rest.given < rest.batch.deliveries().len();
        let more = is_rest || rest.more;
        self.rest = is_rest.then_some(rest);
        Read::Events {
            batch,
            more,
            waits: false,
        }
    }
}

impl<T> fmt::Debug for Merged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged")
            .field("readers", &self.readers.len())
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync> Reader<T> for Merged<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read<T>> {
        if let Some(gap) = self.take_gap() {
            return Poll::Ready(Read::Gap(gap));
        }
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(self.give(rest));
        }
        for _ in 0..self.readers.len() {
            let turn = self.turn;
            self.turn = (turn + 1) % self.readers.len();
            let named = &mut self.readers[turn];
            if named.has_ended {
                continue;
            }
            match named.reader.poll_read(cx) {
                Poll::Pending => {}
                Poll::Ready(Read::Event { mut delivery, .. }) => {
                    named.position = delivery.id().clone();
                    delivery.id = Some(self.id());
                    // The other readers were not polled, so their wakers may not be registered.
                    let waits = false;
                    return Poll::Ready(Read::Event { delivery, waits });
                }
                Poll::Ready(Read::Events { batch, more, .. }) => {
                    return Poll::Ready(self.give(Rest {
                        reader: turn,
                        batch,
                        given: 0,
                        more,
                    }));
                }
                Poll::Ready(Read::Gap(gap)) => {
                    named.position = gap.position;
                    return Poll::Ready(Read::Gap(Gap {
                        position: self.id(),
                        ..gap
                    }));
                }
                Poll::Ready(Read::Lagged) => return Poll::Ready(Read::Lagged),
                Poll::Ready(Read::End) => named.has_ended = true,
                Poll::Ready(Read::Failed(failure)) if failure.is_stop => {
                    named.has_ended = true;
                    self.stop = Some(failure);
                }
                // Fail immediately, because the other topics may never end.
                Poll::Ready(Read::Failed(failure)) => return Poll::Ready(Read::Failed(failure)),
            }
        }
        // A subscription without topics does not end. If it did, the client would not reconnect,
        // even though its next request might name some topics.
        if !self.readers.is_empty() && self.readers.iter().all(|named| named.has_ended) {
            return Poll::Ready(match &self.stop {
                None => Read::End,
                Some(stop) => Read::Failed(Arc::clone(stop)),
            });
        }
        Poll::Pending
    }

    /// Merges the initial gaps of all topics into one. If they were reported one by one, the first
    /// gap's id would already contain the positions after the other gaps. A client that
    /// disconnected after the first gap would then reconnect with that id and never receive the
    /// others.
    fn take_gap(&mut self) -> Option<Gap> {
        let mut gaps: Option<Gap> = None;
        for named in &mut self.readers {
            if let Some(gap) = named.reader.take_gap() {
                named.position = gap.position.clone();
                gaps = Some(gap.after(gaps.map(Box::new)));
            }
        }
        gaps.map(|gap| Gap {
            position: self.id(),
            ..gap
        })
    }

    fn position(&self) -> EventId {
        self.id()
    }

    fn is_done(&self) -> bool {
        let mut readers = self.readers.iter().map(|named| &named.reader);
        // A failed run ends the whole subscription.
        let has_received_failure = readers.clone().any(|of| of.is_done() && of.has_failed());
        has_received_failure || !self.readers.is_empty() && readers.all(|of| of.is_done())
    }

    fn has_failed(&self) -> bool {
        self.readers.iter().any(|named| named.reader.has_failed())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::BytesMut;

    use super::super::{
        backend::{Backend as _, Encoded},
        batch::BYTES,
        ring::{
            Ring,
            overflow::{Capacity, Overflow},
        },
    };
    use super::*;

    #[test]
    fn batch_size_is_bounded_with_merged_ids() {
        const EVENTS: u64 = 200;
        let capacity = Capacity {
            events: 1_000,
            bytes: usize::MAX,
            age: None,
        };
        let rings: Vec<_> = (0..60)
            .map(|_| Arc::new(Ring::new(capacity, Overflow::Skip)))
            .collect();
        let named = rings.iter().enumerate().map(|(number, ring)| {
            let reader = Arc::clone(ring).subscribe(StartAt::Start(Start::Now), None);
            (format!("name-{number}"), reader)
        });
        let mut merged = Merged::new(named);
        for value in 0..EVENTS {
            let frame = BytesMut::zeroed(10);
            let published = rings[7].try_publish(Encoded {
                value,
                frame,
                key: None,
                owner: None,
            });
            published.unwrap().unwrap();
        }

        let mut cx = Context::from_waker(Waker::noop());
        let mut values = Vec::new();
        while let Poll::Ready(read) = merged.poll_read(&mut cx) {
            let Read::Events { batch, more, .. } = read else {
                panic!("expected several events, got {read:?}");
            };
            assert!(batch.frames().len() <= BYTES);
            values.extend(batch.deliveries().iter().map(|delivery| **delivery));
            let last = batch.deliveries().last().unwrap().id().to_string();
            assert_eq!(merged.position().to_string(), last);
            assert_eq!(more, (values.len() as u64) < EVENTS);
        }
        assert_eq!(values, (0..EVENTS).collect::<Vec<_>>());
    }
}
