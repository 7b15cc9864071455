//! Writes JSON on a single line. [`mod@line`] configures `serde_json` to write a single line.
//! [`value`] contains a custom serializer that is faster for the values that most streams carry.

pub(crate) mod line;
pub(crate) mod value;
