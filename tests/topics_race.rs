//! Topics.
mod support;
