//! Integration tests of judges, benchmarks and reports, in one program, so that the dependencies are
//! linked only once.
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
