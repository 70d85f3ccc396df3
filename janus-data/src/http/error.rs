//! Errors of HTTP requests.

use std::io;
use std::time::Duration;

use super::ApiKey;

/// Why an HTTP request failed. No variant contains a key.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// An option that cannot be used.
    #[error("{field} is {got}: expected {expected}")]
    Setting {
        /// The option's name.
        field: &'static str,
        /// Its value.
        got: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// The server responded with an error.
    #[error("the server answered {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The server's message.
        message: String,
    },
    /// The connection failed.
    #[error("the connection failed: {problem}")]
    Connection {
        /// What happened.
        problem: ConnectionProblem,
        /// Whether the request may have arrived.
        sent: bool,
    },
    /// The response did not arrive in time.
    #[error("no complete response arrived in time ({stage})")]
    TimedOut {
        /// What took too long.
        stage: String,
    },
    /// The response does not follow the protocol.
    #[error("invalid response from the server: {problem}")]
    Answer {
        /// What is wrong with it.
        problem: AnswerProblem,
    },
    /// Every attempt failed.
    #[error("gave up after {attempts} attempts: {last}")]
    GaveUp {
        /// Attempts made.
        attempts: usize,
        /// The error of the last attempt.
        last: Box<HttpError>,
    },
    /// The request was not sent, because an earlier response shows that none can succeed: the key was
    /// rejected, or the quota is used up.
    #[error("not sent: {because}")]
    Closed {
        /// The error of that response.
        because: Box<HttpError>,
    },
    /// The request was not sent, because the server requested a pause longer than the limit, and it is not
    /// over.
    #[error("not sent: the server asked us to wait {:.0} s; the limit is {} s", left.as_secs_f64(), limit.as_secs_f64())]
    Paused {
        /// The rest of the pause.
        left: Duration,
        /// The longest pause that a client waits for: [`Backoff::longest`](super::Backoff::longest).
        limit: Duration,
    },
}

impl HttpError {
    pub(super) fn transport(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(stage) => Self::TimedOut { stage: stage.to_string() },
            ureq::Error::HostNotFound => {
                Self::Connection { problem: ConnectionProblem::HostNotFound, sent: false }
            }
            ureq::Error::ConnectionFailed => {
                Self::Connection { problem: ConnectionProblem::Unreachable, sent: false }
            }
            ureq::Error::Io(error) => {
                let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                Self::Connection { problem: ConnectionProblem::io(&error), sent: !refused }
            }
            error => Self::Connection {
                problem: ConnectionProblem::Transport { message: error.to_string() },
                sent: true,
            },
        }
    }

    /// Whether the server may nevertheless have done the work and charge for it.
    pub fn may_be_paid(&self) -> bool {
        !matches!(self, Self::Connection { sent: false, .. })
    }
}

/// Why a connection failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionProblem {
    /// No host has this name.
    #[error("there is no such host")]
    HostNotFound,
    /// None of the host's addresses can be reached.
    #[error("the host cannot be reached")]
    Unreachable,
    /// The system's error: nothing listens there, or the connection was lost.
    #[error("{message}")]
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// The system's message.
        message: String,
    },
    /// The response ended before it was complete.
    #[error("it ended after {have} of {bytes} bytes")]
    Ended {
        /// Bytes that arrived.
        have: u64,
        /// Bytes that were announced.
        bytes: u64,
    },
    /// The protocol or the encryption failed.
    #[error("{message}")]
    Transport {
        /// The message of the HTTP library.
        message: String,
    },
}

impl ConnectionProblem {
    pub(crate) fn io(error: &io::Error) -> Self {
        Self::Io { kind: error.kind(), message: error.to_string() }
    }
}

/// What is wrong with a successful response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerProblem {
    /// It is not JSON of the expected form.
    #[error("no {expected}: {message}")]
    Json {
        /// What was expected.
        expected: &'static str,
        /// The parser's message.
        message: String,
    },
    /// A value in it cannot be used.
    #[error("{field} is {got}: expected {expected}")]
    Value {
        /// The value's name.
        field: String,
        /// What it is.
        got: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// It has neither the requested content nor an error that explains why.
    #[error("no response")]
    Nothing,
    /// It has an error instead of the requested content.
    #[error("{message}")]
    Error {
        /// The error's message.
        message: String,
    },
    /// A header is missing.
    #[error("no {name}")]
    NoHeader {
        /// The header.
        name: &'static str,
    },
    /// A redirect to something that is not an HTTP address.
    #[error("a redirect to something that is not an HTTP address")]
    Redirect {
        /// Where it leads.
        location: String,
    },
    /// Too many redirects.
    #[error("more than {limit} redirects")]
    Redirects {
        /// The number of redirects that are followed.
        limit: usize,
    },
    /// It has none of the requested bytes.
    #[error("it has no bytes from {from} on, where the partial file ends")]
    NoBytes {
        /// The first requested byte.
        from: u64,
    },
    /// It has other bytes than the requested ones.
    #[error("bytes from {asked} on were requested, but it sends them from {got} on")]
    OtherBytes {
        /// The first requested byte.
        asked: u64,
        /// The first that it sends.
        got: u64,
    },
    /// It is longer than announced.
    #[error("{announced} bytes were announced, but {got} arrived")]
    TooLong {
        /// Bytes that were announced.
        announced: u64,
        /// Bytes that arrived.
        got: u64,
    },
}

impl AnswerProblem {
    /// The same problem, with the key redacted where it quotes the response.
    #[must_use]
    pub fn redacted(self, key: Option<&ApiKey>) -> Self {
        let Some(key) = key else { return self };
        match self {
            Self::Json { expected, message } => Self::Json { expected, message: key.redact(&message) },
            Self::Value { field, got, expected } => Self::Value { field, got: key.redact(&got), expected },
            Self::Error { message } => Self::Error { message: key.redact(&message) },
            Self::Redirect { location } => Self::Redirect { location: key.redact(&location) },
            other => other,
        }
    }
}
