//! Compares the serializer's output with that of `serde_json` for every kind of value.

use std::{collections::BTreeMap, net::Ipv4Addr};

use proptest::{collection::vec, prelude::*, sample::select};
use serde::ser::{
    SerializeMap as _, SerializeSeq as _, SerializeTuple as _, SerializeTupleStruct as _,
    SerializeTupleVariant as _,
};
use serde_json::{json, value::RawValue};

use super::*;

fn by_value_serializer<T: Serialize + ?Sized>(value: &T) -> String {
    let mut buffer = BytesMut::new();
    let serialized = value.serialize(ValueSerializer {
        buffer: &mut buffer,
        slot: &mut ValueSlot::default(),
    });
    serialized.unwrap();
    String::from_utf8(buffer.to_vec()).unwrap()
}

fn by_serde_json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut line = Vec::new();
    value.serialize(&mut line::serializer(&mut line)).unwrap();
    String::from_utf8(line).unwrap()
}

/// A value that can call any `Serializer` method available to a `Serialize` implementation.
#[derive(Clone, Debug)]
enum AnyValue {
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
    Something(Box<AnyValue>),
    Newtype(Box<AnyValue>),
    NewtypeVariant(&'static str, Box<AnyValue>),
    Seq(Vec<AnyValue>),
    Tuple(Vec<AnyValue>),
    TupleStruct(Vec<AnyValue>),
    TupleVariant(&'static str, Vec<AnyValue>),
    Map(Vec<(String, AnyValue)>),
    Struct(Vec<(&'static str, AnyValue)>),
    StructVariant(&'static str, Vec<(&'static str, AnyValue)>),
}

impl Serialize for AnyValue {
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

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AnyValue::Bool),
        any::<i64>().prop_map(AnyValue::I64),
        any::<u64>().prop_map(AnyValue::U64),
        any::<i128>().prop_map(AnyValue::I128),
        any::<u128>().prop_map(AnyValue::U128),
        proptest::num::f32::ANY.prop_map(AnyValue::F32),
        proptest::num::f64::ANY.prop_map(AnyValue::F64),
        any::<char>().prop_map(AnyValue::Char),
        text().prop_map(AnyValue::Text),
        text().prop_map(AnyValue::Display),
        any::<Vec<u8>>().prop_map(AnyValue::Bytes),
        Just(AnyValue::Nothing),
        Just(AnyValue::Unit),
        Just(AnyValue::UnitStruct),
        name().prop_map(AnyValue::UnitVariant),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let one = || inner.clone().prop_map(Box::new);
        let many = || vec(inner.clone(), 0..5);
        let fields = || vec((name(), inner.clone()), 0..5);
        prop_oneof![
            one().prop_map(AnyValue::Something),
            one().prop_map(AnyValue::Newtype),
            (name(), one()).prop_map(|(variant, value)| AnyValue::NewtypeVariant(variant, value)),
            many().prop_map(AnyValue::Seq),
            many().prop_map(AnyValue::Tuple),
            many().prop_map(AnyValue::TupleStruct),
            (name(), many()).prop_map(|(variant, values)| AnyValue::TupleVariant(variant, values)),
            vec((text(), inner.clone()), 0..5).prop_map(AnyValue::Map),
            fields().prop_map(AnyValue::Struct),
            (name(), fields())
                .prop_map(|(variant, values)| AnyValue::StructVariant(variant, values)),
        ]
    })
}

proptest! {
    #[test]
    fn output_matches_serde_json(value in any_value()) {
        prop_assert_eq!(by_value_serializer(&value), by_serde_json(&value));
    }
}

#[test]
fn is_plain_finds_special_characters_anywhere() {
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
fn raw_values_are_compacted_at_any_depth() {
    let raw = RawValue::from_string("{\n \"a b\": [\"\u{2028}\", 1.0]\n}".to_owned()).unwrap();
    let compact = r#"{"a b":["\u2028",1.0]}"#;
    assert_eq!(by_value_serializer(&raw), compact);
    assert_eq!(by_value_serializer(&Some(&raw)), compact);
    assert_eq!(by_value_serializer(&vec![&raw]), format!("[{compact}]"));
    let in_structs = Raw {
        raw: &raw,
        maybe: Some(Box::new(Raw {
            raw: &raw,
            maybe: None,
        })),
    };
    let line = format!(r#"{{"raw":{compact},"maybe":{{"raw":{compact},"maybe":null}}}}"#);
    assert_eq!(by_value_serializer(&in_structs), line);
    assert_eq!(by_serde_json(&in_structs), line);
}

#[test]
fn flattened_struct_matches_serde_json() {
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
    assert_eq!(by_value_serializer(&value), by_serde_json(&value));
}

#[test]
fn raw_value_with_a_tag_is_an_error() {
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
            slot: &mut ValueSlot::default(),
        });
        ours.is_err() && serde_json::to_string(value).is_err()
    }
    assert!(is_refused(&Tagged::Short(raw())));
    assert!(is_refused(&Tagged::Long(raw())));
    assert!(is_refused(&LongTag::Raw(raw())));
}

/// Serializes like `serde_json::Number` with the `arbitrary_precision` feature. Enabling the
/// feature itself would affect all other tests.
#[derive(Serialize)]
#[serde(rename = "$serde_json::private::Number")]
struct Number {
    #[serde(rename = "$serde_json::private::Number")]
    digits: &'static str,
}

#[test]
fn arbitrary_precision_number_keeps_its_digits() {
    let number = Number {
        digits: "0.10000000000000000000000000000000001e-999",
    };
    assert_eq!(by_value_serializer(&number), number.digits);
}
