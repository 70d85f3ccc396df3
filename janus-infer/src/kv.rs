//! The KV cache: keys and values in blocks that sequences share.

pub(crate) mod cache;
pub(crate) mod prefix;
