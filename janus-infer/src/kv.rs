//! The KV cache: keys and values in blocks that sequences share, copy-on-write.

mod block;
mod cache;
mod layout;
mod prefix;
mod store;
#[cfg(test)]
mod tests;

pub use cache::KvCache;
pub(crate) use cache::{CacheWriter, Reservation};
pub(crate) use layout::{BLOCK, Layout};
pub(crate) use prefix::PrefixCache;
pub(crate) use store::BlockStore;
