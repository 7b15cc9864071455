//! Scalars and types of the standard library.

use std::{
    cell::Cell,
    cmp::Reverse,
    ffi::CString,
    net::{IpAddr, SocketAddr},
    num::{NonZeroU8, Wrapping},
    path::PathBuf,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::SseEvent;

use super::animals;

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Numbers {
    Huge(u128),
    HugeSigned(i128),
    Signed { large: i64, pointer: isize },
    Single(f32),
    NonZero(NonZeroU8),
    Wrapping(Wrapping<i16>),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Standard {
    Character(char),
    Duration(Duration),
    Time(#[proptest(strategy = "time()")] SystemTime),
    Address(IpAddr),
    Socket(SocketAddr),
    Path(#[proptest(strategy = "path()")] PathBuf),
    Bytes(Vec<u8>),
    Terminated(CString),
    Reverse(Reverse<u8>),
    Cell(Cell<u8>),
    Mutex(#[proptest(strategy = "any::<u8>().prop_map(Mutex::new)")] Mutex<u8>),
}

/// serde cannot serialize a time before 1970.
fn time() -> impl Strategy<Value = SystemTime> {
    any::<Duration>().prop_filter_map("a time that can be represented", |since| {
        SystemTime::UNIX_EPOCH.checked_add(since)
    })
}

/// serde cannot serialize a path that is not UTF-8.
fn path() -> impl Strategy<Value = PathBuf> {
    any::<String>().prop_map(PathBuf::from)
}

#[derive(Debug, Serialize, JsonSchema)]
struct Json {
    any: serde_json::Value,
    object: serde_json::Map<String, serde_json::Value>,
    number: serde_json::Number,
}

impl Arbitrary for Json {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let values = (any::<i64>(), any::<String>(), any::<bool>());
        values
            .prop_map(|(number, text, is_text)| {
                let any = match is_text {
                    true => serde_json::json!([text, null]),
                    false => serde_json::json!({ "number": number }),
                };
                let object = [(text, any.clone())].into_iter().collect();
                Self {
                    any,
                    object,
                    number: number.into(),
                }
            })
            .boxed()
    }
}

animals! {
    unit: sends ();
    boolean: sends bool;
    character: sends char;
    string: sends String;
    small_string: sends Box<str>;
    static_string: sends &'static str, from: proptest::sample::select(vec!["", "a\nb"]);
    small_integer: sends i8;
    large_integer: sends u64;
    huge_integer: sends u128;
    float: sends f64;
    numbers: sends Numbers;
    standard_types: sends Standard;
    any_json: sends Json;
}
