//! Edge cases of the derives. The generated code must not trigger any lints that serde's own derives do not trigger.
#![deny(warnings)]

use std::fmt::{self, Display};

use sse_runtime::{SseError, SseEvent};

/// Explicit discriminants, and a lint that the user allows.
#[allow(non_camel_case_types)]
#[derive(SseEvent)]
#[repr(u8)]
pub enum numbered {
    First { x: u8 } = 1,
    second = Self::K,
    #[deprecated]
    Third,
}

impl numbered {
    const K: u8 = 7;
}

/// `Self` in types and in an array length.
#[derive(SseEvent)]
pub enum Counted {
    Bytes([u8; Self::N]),
    More(Vec<Self>),
}

impl Counted {
    const N: usize = 2;
}

/// Names that serde only uses for deserialization, and bounds on a field.
#[derive(SseEvent, serde::Deserialize)]
#[serde(rename(deserialize = "Old"))]
pub struct Renamed<T> {
    #[serde(bound(deserialize = "T: Default"), skip_deserializing)]
    pub value: T,
}

#[derive(SseEvent)]
pub struct Displayed<T> {
    #[serde(bound(serialize = "T: Display"), serialize_with = "shown")]
    pub value: T,
}

fn shown<T: Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[derive(SseEvent)]
pub enum Nothing {}

#[derive(SseError)]
pub enum Never {}

#[derive(SseError)]
pub enum Generic<T> {
    #[sse(status = 404)]
    Missing { what: T },
}

/// A macro that uses a re-export of the crate and is called inside a function.
mod library {
    #[doc(hidden)]
    pub use sse_runtime as sse;

    macro_rules! event {
        ($name:ident, $field:ident: $ty:ty) => {
            #[derive($crate::library::sse::SseEvent)]
            #[sse(crate = $crate::library::sse)]
            pub struct $name {
                pub $field: $ty,
            }

            #[derive($crate::library::sse::SseError)]
            #[sse(crate = $crate::library::sse)]
            #[allow(dead_code)]
            pub enum Failed {
                Once { $field: $ty },
            }

            #[$crate::library::sse::sse_endpoint("/made", crate = $crate::library::sse)]
            pub async fn made() -> impl $crate::library::sse::Stream<Item = Result<$name, $ty>> {
                yield_!($name { $field: 1 });
            }
        };
    }
    pub(crate) use event;
}

/// The item type is a macro argument.
macro_rules! endpoint {
    ($name:ident, $item:ty) => {
        #[sse_runtime::sse_endpoint("/by-macro")]
        async fn $name() -> impl sse_runtime::Stream<Item = $item> {
            yield_!(1);
        }
    };
}
endpoint!(by_macro, Result<u8, String>);

fn is_shown<T: serde::Serialize>(_: T) {}

/// Types whose names, with two underscores in front, occur in the code that serde generates.
mod names_of_serde {
    use sse_runtime::SseEvent;

    #[derive(SseEvent, serde::Deserialize)]
    pub struct S {
        pub x: u32,
    }

    #[derive(SseEvent, serde::Deserialize)]
    pub enum Visitor {
        A { x: u32 },
        B,
    }

    #[derive(SseEvent, serde::Deserialize)]
    pub struct Field<T> {
        #[sse(id)]
        pub id: u64,
        pub t: T,
    }
}

fn main() {
    library::event!(Made, seq: u32);
    is_shown(Made { seq: 1 });
    is_shown(numbered::First { x: 1 });
    is_shown(numbered::second);
    is_shown(Counted::Bytes([0; 2]));
    is_shown(Counted::More(Vec::new()));
    is_shown(Renamed { value: 1 });
    is_shown(Displayed { value: fmt::Error });
    is_shown(Generic::Missing { what: fmt::Error });
    let _ = (made(), by_macro(), None::<Nothing>, None::<Never>);
}
