//! Compares the bytes with those of `serde_json`, for values of every kind.

use std::{collections::BTreeMap, net::Ipv4Addr};

use proptest::{collection::vec, prelude::*, sample::select};
use serde::ser::{
    SerializeMap as _, SerializeSeq as _, SerializeTuple as _, SerializeTupleStruct as _,
    SerializeTupleVariant as _,
};
use serde_json::{json, value::RawValue};

use super::*;

fn ours<T: Serialize + ?Sized>(value: &T) -> String {
    let mut buffer = BytesMut::new();
    let serialized = value.serialize(ValueSerializer {
        buffer: &mut buffer,
        place: &mut Place::default(),
    });
    serialized.unwrap();
    String::from_utf8(buffer.to_vec()).unwrap()
}

fn of_serde_json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut line = Vec::new();
    value.serialize(&mut line::serializer(&mut line)).unwrap();
    String::from_utf8(line).unwrap()
}

/// Whatever a `Serialize` can say.
#[derive(Clone, Debug)]
enum Said {
    Bool(bool),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F32(f32),
    F64(f64),
    Char(char),
    Text(String),
    Display(String),
    Bytes(Vec<u8>),
    Nothing,
    Unit,
    UnitStruct,
    UnitVariant(&'static str),
    Something(Box<Said>),
    Newtype(Box<Said>),
    NewtypeVariant(&'static str, Box<Said>),
    Seq(Vec<Said>),
    Tuple(Vec<Said>),
    TupleStruct(Vec<Said>),
    TupleVariant(&'static str, Vec<Said>),
    Map(Vec<(String, Said)>),
    Struct(Vec<(&'static str, Said)>),
    StructVariant(&'static str, Vec<(&'static str, Said)>),
}

impl Serialize for Said {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => to.serialize_bool(*value),
            Self::I64(value) => to.serialize_i64(*value),
            Self::U64(value) => to.serialize_u64(*value),
            Self::I128(value) => to.serialize_i128(*value),
            Self::U128(value) => to.serialize_u128(*value),
            Self::F32(value) => to.serialize_f32(*value),
            Self::F64(value) => to.serialize_f64(*value),
            Self::Char(value) => to.serialize_char(*value),
            Self::Text(text) => to.serialize_str(text),
            Self::Display(text) => to.collect_str(text),
            Self::Bytes(bytes) => to.serialize_bytes(bytes),
            Self::Nothing => to.serialize_none(),
            Self::Unit => to.serialize_unit(),
            Self::UnitStruct => to.serialize_unit_struct("Struct"),
            Self::UnitVariant(variant) => to.serialize_unit_variant("Enum", 0, variant),
            Self::Something(value) => to.serialize_some(value),
            Self::Newtype(value) => to.serialize_newtype_struct("Struct", value),
            Self::NewtypeVariant(variant, value) => {
                to.serialize_newtype_variant("Enum", 0, variant, value)
            }
            Self::Seq(values) => {
                let mut seq = to.serialize_seq(Some(values.len()))?;
                for value in values {
                    seq.serialize_element(value)?;
                }
                seq.end()
            }
            Self::Tuple(values) => {
                let mut tuple = to.serialize_tuple(values.len())?;
                for value in values {
                    tuple.serialize_element(value)?;
                }
                tuple.end()
            }
            Self::TupleStruct(values) => {
                let mut tuple = to.serialize_tuple_struct("Struct", values.len())?;
                for value in values {
                    tuple.serialize_field(value)?;
                }
                tuple.end()
            }
            Self::TupleVariant(variant, values) => {
                let mut tuple = to.serialize_tuple_variant("Enum", 0, variant, values.len())?;
                for value in values {
                    tuple.serialize_field(value)?;
                }
                tuple.end()
            }
            Self::Map(entries) => {
                let mut map = to.serialize_map(None)?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Struct(entries) => {
                let mut fields = to.serialize_struct("Struct", entries.len())?;
                for (name, value) in entries {
                    fields.serialize_field(name, value)?;
                    fields.skip_field("skipped")?;
                }
                fields.end()
            }
            Self::StructVariant(variant, entries) => {
                let mut fields = to.serialize_struct_variant("Enum", 0, variant, entries.len())?;
                for (name, value) in entries {
                    fields.serialize_field(name, value)?;
                    fields.skip_field("skipped")?;
                }
                fields.end()
            }
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    let of_any_kind = "[a-z\"\\\\\\x00-\\x20\\x7f-\\x85é\u{2027}-\u{2029}😀]{0,20}";
    prop_oneof!["[ -~]{0,20}", "[a-z]{0,40}", of_any_kind]
}

fn name() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "",
            "a",
            "ab",
            "seq",
            "name",
            "price",
            "twelve bytes",
            "a longer name",
            "the name of names",
            "$",
            "type",
            "\"",
            "a\\b",
            "né",
            "a\nb",
            "x\u{2028}",
            "quite a long name with a \" in it",
            "a name\u{85}",
        ][..],
    )
}

fn said() -> impl Strategy<Value = Said> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Said::Bool),
        any::<i64>().prop_map(Said::I64),
        any::<u64>().prop_map(Said::U64),
        any::<i128>().prop_map(Said::I128),
        any::<u128>().prop_map(Said::U128),
        proptest::num::f32::ANY.prop_map(Said::F32),
        proptest::num::f64::ANY.prop_map(Said::F64),
        any::<char>().prop_map(Said::Char),
        text().prop_map(Said::Text),
        text().prop_map(Said::Display),
        any::<Vec<u8>>().prop_map(Said::Bytes),
        Just(Said::Nothing),
        Just(Said::Unit),
        Just(Said::UnitStruct),
        name().prop_map(Said::UnitVariant),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let one = || inner.clone().prop_map(Box::new);
        let many = || vec(inner.clone(), 0..5);
        let fields = || vec((name(), inner.clone()), 0..5);
        prop_oneof![
            one().prop_map(Said::Something),
            one().prop_map(Said::Newtype),
            (name(), one()).prop_map(|(variant, value)| Said::NewtypeVariant(variant, value)),
            many().prop_map(Said::Seq),
            many().prop_map(Said::Tuple),
            many().prop_map(Said::TupleStruct),
            (name(), many()).prop_map(|(variant, values)| Said::TupleVariant(variant, values)),
            vec((text(), inner.clone()), 0..5).prop_map(Said::Map),
            fields().prop_map(Said::Struct),
            (name(), fields()).prop_map(|(variant, values)| Said::StructVariant(variant, values)),
        ]
    })
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_serde_json(value in said()) {
        prop_assert_eq!(ours(&value), of_serde_json(&value));
    }
}

#[test]
fn what_is_not_plain_is_seen_wherever_it_stands() {
    for len in 0..=25 {
        for at in 0..=len {
            for special in '\0'..='\u{ff}' {
                let text = format!("{}{special}{}", "a".repeat(at), "z".repeat(len - at));
                let is_special = matches!(special, '"' | '\\' | ..' ' | '\u{80}'..);
                assert_eq!(is_plain(&text), !is_special, "{text:?}");
            }
        }
    }
    assert!(is_plain(""));
}

#[derive(Serialize)]
struct Nested<'a> {
    raw: &'a RawValue,
    maybe: Option<&'a RawValue>,
    next: Option<Box<Nested<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u8>,
    address: Ipv4Addr,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Raw<'a> {
    raw: &'a RawValue,
    maybe: Option<Box<Raw<'a>>>,
}

#[test]
fn raw_values_are_compacted_wherever_they_stand() {
    let raw = RawValue::from_string("{\n \"a b\": [\"\u{2028}\", 1.0]\n}".to_owned()).unwrap();
    let compact = r#"{"a b":["\u2028",1.0]}"#;
    assert_eq!(ours(&raw), compact);
    assert_eq!(ours(&Some(&raw)), compact);
    assert_eq!(ours(&vec![&raw]), format!("[{compact}]"));
    let in_structs = Raw {
        raw: &raw,
        maybe: Some(Box::new(Raw {
            raw: &raw,
            maybe: None,
        })),
    };
    let line = format!(r#"{{"raw":{compact},"maybe":{{"raw":{compact},"maybe":null}}}}"#);
    assert_eq!(ours(&in_structs), line);
    assert_eq!(of_serde_json(&in_structs), line);
}

#[test]
fn a_struct_that_serde_makes_a_map_of_is_one() {
    let raw = RawValue::from_string("[ 1 ]".to_owned()).unwrap();
    let nested = |next| Nested {
        raw: &raw,
        maybe: Some(&raw),
        next,
        skipped: None,
        address: Ipv4Addr::LOCALHOST,
        others: BTreeMap::from([("other\n".to_owned(), json!({ "a": [1, null] }))]),
    };
    let value = nested(Some(Box::new(nested(None))));
    assert_eq!(ours(&value), of_serde_json(&value));
}

#[test]
fn a_raw_value_takes_no_tag() {
    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Short(Box<RawValue>),
        #[serde(rename = "with a name that is long")]
        Long(Box<RawValue>),
    }
    #[derive(Serialize)]
    #[serde(tag = "a tag with a name that is long")]
    enum LongTag {
        Raw(Box<RawValue>),
    }
    let raw = || RawValue::from_string("{}".to_owned()).unwrap();
    fn is_refused<T: Serialize>(value: &T) -> bool {
        let mut buffer = BytesMut::new();
        let ours = value.serialize(ValueSerializer {
            buffer: &mut buffer,
            place: &mut Place::default(),
        });
        ours.is_err() && serde_json::to_string(value).is_err()
    }
    assert!(is_refused(&Tagged::Short(raw())));
    assert!(is_refused(&Tagged::Long(raw())));
    assert!(is_refused(&LongTag::Raw(raw())));
}

/// What `serde_json::Number` is under `arbitrary_precision`, which would change every other test.
#[derive(Serialize)]
#[serde(rename = "$serde_json::private::Number")]
struct Number {
    #[serde(rename = "$serde_json::private::Number")]
    digits: &'static str,
}

#[test]
fn a_number_of_any_precision_keeps_its_digits() {
    let number = Number {
        digits: "0.10000000000000000000000000000000001e-999",
    };
    assert_eq!(ours(&number), number.digits);
}
