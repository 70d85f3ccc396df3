//! The options of a server.

use std::time::Duration;

use janus_core::SamplingParams;
use tokio::sync::Semaphore;

use super::{BearerToken, ServerError};

/// The options of a [`Server`](super::Server) or a [`Service`](super::Service): access, limits and defaults.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The token that clients must send, except to `/health`. Without one, a server on a loopback
    /// address accepts only `localhost` and loopback addresses as host, to prevent DNS rebinding by web
    /// pages.
    pub token: Option<BearerToken>,
    /// The most requests that wait or run; another one is answered with 429.
    pub queue: usize,
    /// The most connections; others wait to be accepted.
    pub connections: usize,
    /// The most bytes of a request's body; a longer one is answered with 413.
    pub body_bytes: usize,
    /// Time to send the head of a request, and time that a connection may be idle between two requests.
    pub header_timeout: Duration,
    /// Time to send the body of a request.
    pub body_timeout: Duration,
    /// Time after which a client that reads nothing of a pending response is disconnected.
    pub write_timeout: Duration,
    /// Defaults of the sampling parameters that a chat request does not set. `/v1/completions` generates
    /// 16 tokens unless the request sets `max_tokens`. `n`, `seed` and log-probabilities are always
    /// those of the request.
    pub sampling: SamplingParams,
}

impl Default for ServerOptions {
    /// No token, 256 requests, 512 connections, bodies of 1 MiB, timeouts of 30 seconds, neutral
    /// sampling parameters.
    fn default() -> Self {
        let timeout = Duration::from_secs(30);
        Self {
            token: None,
            queue: 256,
            connections: 512,
            body_bytes: 1 << 20,
            header_timeout: timeout,
            body_timeout: timeout,
            write_timeout: timeout,
            sampling: SamplingParams::default(),
        }
    }
}

impl ServerOptions {
    /// These options with the changes that `set` makes, as one expression:
    /// `options.with(|options| options.queue = 8)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    pub(super) fn validate(&self) -> Result<(), ServerError> {
        let wrong = |field, got: String, expected| Err(ServerError::Setting { field, got, expected });
        for (field, value) in
            [("queue", self.queue), ("connections", self.connections), ("body_bytes", self.body_bytes)]
        {
            if value == 0 || value > Semaphore::MAX_PERMITS {
                return wrong(field, value.to_string(), "at least 1 and at most usize::MAX / 8");
            }
        }
        let times = [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("write_timeout", self.write_timeout),
        ];
        for (field, value) in times {
            if value.is_zero() {
                return wrong(field, "0".into(), "more than 0");
            }
        }
        match self.sampling.validate() {
            Ok(()) => Ok(()),
            Err(error) => wrong("sampling", error.to_string(), "parameters in range"),
        }
    }
}
