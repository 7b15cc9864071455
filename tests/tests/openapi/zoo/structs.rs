//! Structs in every form, as events and as plain items.

use std::marker::PhantomData;

use proptest::prelude::*;
use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::SseEvent;

use super::{animals, enums::Pair};

// --- events ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct Heartbeat;

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct Wrapper(Pair);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct WrapsScalar(u32);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[sse(text, event = "line")]
struct Line(String);

/// A named event with an id.
#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct Identified {
    #[sse(id)]
    #[serde(skip)]
    id: Option<u32>,
    text: String,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[sse(message)]
struct Unnamed {
    text: String,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(transparent)]
struct Transparent {
    inner: Pair,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(transparent)]
struct TransparentEvent {
    inner: Identified,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type")]
struct Tagged {
    text: String,
}

#[derive(Debug, Clone, Arbitrary, SseEvent, JsonSchema)]
#[serde(into = "String")]
struct Converting {
    text: String,
}

impl From<Converting> for String {
    fn from(from: Converting) -> Self {
        from.text
    }
}

// --- plain items ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Unit;

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Newtype(Option<Pair>);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Tuple(u8, Pair, #[serde(skip)] (), Option<bool>);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Empty {}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strict {
    pair: Pair,
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "plain")]
struct PlainTagged {
    text: String,
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(transparent)]
struct PlainTransparent<T> {
    inner: T,
    #[serde(skip)]
    marker: PhantomData<T>,
}

// --- generics and recursion ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Page<T> {
    items: Vec<T>,
    next: Option<Box<T>>,
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Both {
    pairs: Page<Pair>,
    texts: Page<String>,
    marker: PhantomData<Pair>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Tree {
    value: u8,
    children: Vec<Tree>,
    owner: Option<Box<Owner>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Owner {
    tree: Option<Box<Tree>>,
}

impl Arbitrary for Tree {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let leaf = any::<u8>().prop_map(|value| Self {
            value,
            children: Vec::new(),
            owner: None,
        });
        let tree = leaf.prop_recursive(3, 16, 4, |inner| {
            let owner = proptest::option::of(proptest::option::of(inner.clone()));
            (any::<u8>(), proptest::collection::vec(inner, 0..4), owner).prop_map(
                |(value, children, owner)| Self {
                    value,
                    children,
                    owner: owner.map(|tree| {
                        Box::new(Owner {
                            tree: tree.map(Box::new),
                        })
                    }),
                },
            )
        });
        tree.boxed()
    }
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Forest {
    Planted(Tree),
    Felled { trees: Vec<Tree> },
}

animals! {
    unit_struct: sends Heartbeat;
    newtype: sends Wrapper;
    newtype_of_scalar: sends WrapsScalar;
    text_newtype: sends Line;
    struct_with_id: sends Identified;
    unnamed_struct: sends Unnamed;
    transparent_event: sends Transparent;
    transparent_over_an_event: sends TransparentEvent;
    tagged_event: sends Tagged;
    converted_event: sends Converting;
    plain_unit_struct: sends Unit;
    plain_newtype: sends Newtype;
    plain_tuple_struct: sends Tuple;
    plain_empty_struct: sends Empty;
    plain_strict_struct: sends Strict;
    plain_tagged_struct: sends PlainTagged;
    plain_transparent: sends PlainTransparent<Vec<Pair>>;
    generic_struct: sends Page<Page<u8>>;
    two_instances_of_a_generic: sends Both;
    recursive_struct: sends Tree;
    recursive_contents: sends Forest;
}
