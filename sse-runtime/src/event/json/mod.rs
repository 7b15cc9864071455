//! JSON on one line: [`mod@line`] configures `serde_json` for it, and [`value`] is a serializer of
//! our own that is faster for the values that most streams carry.

pub(crate) mod line;
pub(crate) mod value;
