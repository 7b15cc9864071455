//! Structs in every form, as events and as plain items.

use std::marker::PhantomData;

use proptest::prelude::*;
use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::SseEvent;

use super::{enums::Pair, sends};

// --- events ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct Heartbeat;
sends!(unit_struct: Heartbeat);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct Wrapper(Pair);
sends!(newtype: Wrapper);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct WrapsScalar(u32);
sends!(newtype_of_scalar: WrapsScalar);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[sse(text, event = "line")]
struct Line(String);
sends!(text_newtype: Line);

/// A named event with an id.
#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct Identified {
    #[sse(id)]
    #[serde(skip)]
    id: Option<u32>,
    text: String,
}
sends!(struct_with_id: Identified);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[sse(message)]
struct Unnamed {
    text: String,
}
sends!(unnamed_struct: Unnamed);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(transparent)]
struct Transparent {
    inner: Pair,
}
sends!(transparent_event: Transparent);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(transparent)]
struct TransparentEvent {
    inner: Identified,
}
sends!(transparent_over_an_event: TransparentEvent);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type")]
struct Tagged {
    text: String,
}
sends!(tagged_event: Tagged);

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
sends!(converted_event: Converting);

// --- plain items ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Unit;
sends!(plain_unit_struct: Unit);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Newtype(Option<Pair>);
sends!(plain_newtype: Newtype);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Tuple(u8, Pair, #[serde(skip)] (), Option<bool>);
sends!(plain_tuple_struct: Tuple);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Empty {}
sends!(plain_empty_struct: Empty);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strict {
    pair: Pair,
}
sends!(plain_strict_struct: Strict);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "plain")]
struct PlainTagged {
    text: String,
}
sends!(plain_tagged_struct: PlainTagged);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(transparent)]
struct PlainTransparent<T> {
    inner: T,
    #[serde(skip)]
    marker: PhantomData<T>,
}
sends!(plain_transparent: PlainTransparent<Vec<Pair>>);

// --- generics and recursion ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Page<T> {
    items: Vec<T>,
    next: Option<Box<T>>,
}
sends!(generic_struct: Page<Page<u8>>);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Both {
    pairs: Page<Pair>,
    texts: Page<String>,
    marker: PhantomData<Pair>,
}
sends!(two_instances_of_a_generic: Both);

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
sends!(recursive_struct: Tree);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Forest {
    Planted(Tree),
    Felled { trees: Vec<Tree> },
}
sends!(recursive_contents: Forest);
