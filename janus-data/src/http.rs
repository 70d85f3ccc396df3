//! HTTP for the crates whose features use the network: rate limits, retries with back-off, and API keys that
//! are never printed.
//!
//! A [`Client`] handles limits and retries; its user builds the request and reads the response:
//!
//! ```no_run
//! use janus_data::http::{ApiKey, Client, ClientOptions, Failed, HttpError};
//!
//! let client = Client::new("http://localhost:8080", ClientOptions::default(), "an-example/1")?;
//! let key = ApiKey::new("secret")?;
//! let answer: String = client.attempts("id of the request", || {
//!     client.wait(0)?;
//!     let reply = client.post("http://localhost:8080/ask", &[("x-key", key.secret())], "{}")?;
//!     if reply.is_success() { Ok(reply.text) } else { Err(reply.failed(Some(&key))) }
//! })?;
//! # Ok::<(), HttpError>(())
//! ```

mod client;
mod error;
mod key;
mod limit;
mod retry;

pub use client::{Client, ClientOptions, Failed, HttpResponse, each, error_message, without_secrets};
#[cfg(feature = "hub")]
pub(crate) use client::{header, reply};
pub use error::{AnswerProblem, ConnectionProblem, HttpError};
pub use key::ApiKey;
pub use retry::{Backoff, helps_status};
