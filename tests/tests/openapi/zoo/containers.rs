//! Collections, tuples, arrays and options.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque},
    ops::{Bound, Range},
    sync::Arc,
};

use proptest::prelude::*;
use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::SseEvent;

use super::{animals, enums::Pair};

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Arbitrary, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Key {
    FirstKey,
    SecondKey,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Arbitrary, Serialize, JsonSchema)]
struct KeyType(i16);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Maps {
    Text(BTreeMap<String, Pair>),
    Unsigned(HashMap<u64, u8>),
    Signed(BTreeMap<i8, Option<u8>>),
    Newtype(BTreeMap<KeyType, u8>),
    Character(BTreeMap<char, u8>),
    Boolean(BTreeMap<bool, u8>),
    Variant(HashMap<Key, u8>),
    Nested {
        maps: BTreeMap<u8, BTreeMap<String, u8>>,
    },
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Lists {
    Deque(VecDeque<u8>),
    Linked(LinkedList<Pair>),
    Sorted(BTreeSet<u8>),
    Hashed(HashSet<String>),
    Array([u8; 3]),
    EmptyArray([u8; 0]),
    LargeArray([u8; 32]),
    Boxed(Box<[u8]>),
    Shared(Arc<[u8]>),
    Borrowed(Cow<'static, str>),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Tuples {
    Two((u8, String)),
    One((u8,)),
    Nested { tuple: (Pair, (u8, Option<u8>)) },
    Array([(u8, bool); 2]),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Options {
    Optional(Option<u8>),
    Nested(Option<Option<Pair>>),
    Boxed { inner: Option<Box<Pair>> },
    Result(Result<u8, String>),
    Range(Range<u8>),
    Bound(#[proptest(strategy = "bound()")] Bound<u8>),
}

fn bound() -> impl Strategy<Value = Bound<u8>> {
    any::<Option<Result<u8, u8>>>().prop_map(|bound| match bound {
        None => Bound::Unbounded,
        Some(Ok(bound)) => Bound::Included(bound),
        Some(Err(bound)) => Bound::Excluded(bound),
    })
}

animals! {
    maps: sends Maps;
    map_with_integer_keys: sends BTreeMap<i64, Pair>;
    lists: sends Lists;
    tuples: sends Tuples;
    tuple: sends (u8, Option<Pair>, [u8; 2]);
    options: sends Options;
    optional_item: sends Option<Pair>;
    list_of_options: sends Vec<Option<Key>>;
}
