//! How clients are treated.

use std::time::Duration;

use janus_core::SamplingParams;
use tokio::sync::Semaphore;

use super::{BearerToken, ServerError};

/// How a [`Server`](super::Server) or a [`Service`](super::Service) treats its clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// What clients must send, except to `/health`. Without one, a server on a loopback address answers to
    /// `localhost` and loopback addresses only, so that no page in a browser reaches it under a name of its own.
    pub token: Option<BearerToken>,
    /// Requests that wait or run, at most; one more is answered 429.
    pub queue: usize,
    /// Connections, at most; others wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's body, at most; more is answered 413.
    pub body_bytes: usize,
    /// Time to send a request's head, and to stay silent between two requests.
    pub header_timeout: Duration,
    /// Time to send a request's body.
    pub body_timeout: Duration,
    /// Time in which a client must read something of what there is to read.
    pub write_timeout: Duration,
    /// Defaults of parameters that a chat request does not set. `/v1/completions` generates 16 tokens unless the request sets
    /// `max_tokens`. `n`, `seed` and log-probabilities have no default here.
    pub sampling: SamplingParams,
}

impl Default for ServerOptions {
    /// No token, 256 requests, 512 connections, bodies of 1 MiB, 30 seconds for each thing that a client does, the
    /// paper's sampling parameters.
    fn default() -> Self {
        let patience = Duration::from_secs(30);
        Self {
            token: None,
            queue: 256,
            connections: 512,
            body_bytes: 1 << 20,
            header_timeout: patience,
            body_timeout: patience,
            write_timeout: patience,
            sampling: SamplingParams::paper(),
        }
    }
}

impl ServerOptions {
    /// These options after `set` changed some of them, for an expression: `options.with(|options| options.queue = 8)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    pub(super) fn validate(&self) -> Result<(), ServerError> {
        let wrong = |field, got: String, expected| Err(ServerError::Setting { field, got, expected });
        for (field, value) in [("queue", self.queue), ("connections", self.connections), ("body_bytes", self.body_bytes)] {
            if value == 0 || value > Semaphore::MAX_PERMITS {
                return wrong(field, value.to_string(), "at least 1, and not beyond what can be counted");
            }
        }
        let times = [("header_timeout", self.header_timeout), ("body_timeout", self.body_timeout), ("write_timeout", self.write_timeout)];
        for (field, value) in times {
            if value.is_zero() {
                return wrong(field, "0".into(), "some time");
            }
        }
        match self.sampling.validate() {
            Ok(()) => Ok(()),
            Err(error) => wrong("sampling", error.to_string(), "parameters in range"),
        }
    }
}
