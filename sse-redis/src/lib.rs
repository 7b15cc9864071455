#![cfg_attr(docsrs, feature(doc_cfg))]
//! Stores the topics of [`sse_runtime`] in Redis or Valkey, so that several servers can share them.

mod builder;
mod config;
mod connect;
mod engine;
mod error;
mod failure;
mod redis;
mod scripts;
mod session;
mod shared;
mod wire;

pub use self::redis::Redis;
pub use builder::RedisBuilder;
pub use error::RedisError;
