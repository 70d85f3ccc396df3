//! Model files, engine, server and remote models, seen from outside. One program, so that its dependencies
//! are linked once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so may its helpers")]

#[cfg(feature = "local")]
mod engine;
#[cfg(feature = "remote")]
#[path = "../examples/remote.rs"]
#[allow(dead_code, reason = "an example has a main")]
mod example;
#[cfg(feature = "local")]
mod goldens;
#[cfg(feature = "local")]
mod hostile;
#[cfg(feature = "server")]
#[path = "support/http.rs"]
mod http;
#[cfg(feature = "jinja")]
mod jinja;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "local")]
mod reward;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod server_completions;
#[cfg(feature = "server")]
mod server_fields;
#[cfg(feature = "server")]
mod service;
#[cfg(feature = "local")]
mod session;
#[cfg(feature = "jinja")]
mod smollm2_altered;
#[cfg(feature = "remote")]
mod stub;
#[cfg(feature = "local")]
mod support;
#[cfg(feature = "local")]
#[path = "support/tiny.rs"]
mod tiny;
#[cfg(feature = "local")]
mod weights;
