//! JSON on one line. [`mod@line`] configures `serde_json` to write it, and [`value`] is a custom
//! serializer that is faster for the values that most streams carry.

pub(crate) mod line;
pub(crate) mod value;
