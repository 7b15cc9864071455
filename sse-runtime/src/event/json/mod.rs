//! JSON on one line: [`line`] is `serde_json`'s writer for it, [`value`] a serializer of our own that is
//! faster for the values that streams mostly hold.

pub(crate) mod line;
pub(crate) mod value;
