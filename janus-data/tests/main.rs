//! Files, datasets, construction and tokens, seen from outside. One program, so that its dependencies are
//! linked once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so may its helpers")]

#[cfg(feature = "parquet")]
mod arbitrary;
#[cfg(feature = "parquet")]
mod arrow_layouts;
#[cfg(feature = "parquet")]
mod bad_input;
#[cfg(feature = "parquet")]
mod construct;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "parquet")]
mod layouts;
mod mini;
#[cfg(feature = "parquet")]
mod mutations;
#[cfg(feature = "parquet")]
mod quiet;
#[cfg(feature = "parquet")]
mod round_trip;
mod sources;
mod stage;
#[cfg(feature = "hub")]
#[path = "../../janus-infer/tests/stub/mod.rs"]
mod stub;
#[cfg(feature = "tokenize")]
mod tokenizer;
#[cfg(feature = "tokenize")]
mod tokens;
#[cfg(feature = "parquet")]
mod unread;
