//! Judges, benchmarks and reports, seen from outside. One program, so that its dependencies are linked once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bootstrap;
mod examples;
mod judges;
mod judging;
#[cfg(feature = "remote")]
mod perspective;
mod published;
#[path = "../../janus-infer/tests/stub/mod.rs"]
mod stub;
mod verdicts;
