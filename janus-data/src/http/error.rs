//! Why a server gave no answer.

use std::io;
use std::time::Duration;

use super::ApiKey;

/// Why a server gave no answer. No variant holds a key.
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
        /// What it may be.
        expected: &'static str,
    },
    /// The server answered with an error.
    #[error("the service answers {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What it says.
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
    /// The answer did not come in time.
    #[error("no whole answer came in time ({stage})")]
    TimedOut {
        /// What took too long.
        stage: String,
    },
    /// The response does not follow the protocol.
    #[error("the answer cannot be read: {problem}")]
    Answer {
        /// What is wrong with it.
        problem: AnswerProblem,
    },
    /// Every attempt failed.
    #[error("gave up after {attempts} attempts: {last}")]
    GaveUp {
        /// Attempts made.
        attempts: usize,
        /// The last one's error.
        last: Box<HttpError>,
    },
    /// The request was not sent, because an earlier response says that none will be answered: the key is refused, or the
    /// quota is used up.
    #[error("not asked: {because}")]
    Closed {
        /// That response's error.
        because: Box<HttpError>,
    },
    /// The request was not sent, because the server asked for a longer pause than is waited for, and it is not over.
    #[error("not asked: the server asked us to wait {:.0} s; the limit is {} s", left.as_secs_f64(), limit.as_secs_f64())]
    Paused {
        /// What is left of the pause.
        left: Duration,
        /// The longest pause that is waited for: [`Backoff::longest`](super::Backoff::longest).
        limit: Duration,
    },
}

impl HttpError {
    pub(super) fn transport(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(stage) => Self::TimedOut { stage: stage.to_string() },
            ureq::Error::HostNotFound => Self::Connection { problem: ConnectionProblem::HostNotFound, sent: false },
            ureq::Error::ConnectionFailed => Self::Connection { problem: ConnectionProblem::Unreachable, sent: false },
            ureq::Error::Io(error) => {
                let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                Self::Connection { problem: ConnectionProblem::io(&error), sent: !refused }
            }
            error => Self::Connection { problem: ConnectionProblem::Transport { message: error.to_string() }, sent: true },
        }
    }

    /// Whether the server may have done the work, and bill it, all the same.
    pub fn may_be_paid(&self) -> bool {
        !matches!(self, Self::Connection { sent: false, .. })
    }
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionProblem {
    /// The name is no host's.
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
        /// What the system says.
        message: String,
    },
    /// The answer ended before it was whole.
    #[error("it ended after {have} of {bytes} bytes")]
    Ended {
        /// Bytes that came.
        have: u64,
        /// Bytes that were announced.
        bytes: u64,
    },
    /// The protocol or the encryption failed.
    #[error("{message}")]
    Transport {
        /// What the HTTP library says.
        message: String,
    },
}

impl ConnectionProblem {
    pub(crate) fn io(error: &io::Error) -> Self {
        Self::Io { kind: error.kind(), message: error.to_string() }
    }
}

/// What is wrong with a response that is no error response.
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
    /// A value of it cannot be used.
    #[error("{field} is {got}: expected {expected}")]
    Value {
        /// The value's name.
        field: String,
        /// What it is.
        got: String,
        /// What it may be.
        expected: &'static str,
    },
    /// It has neither what was asked for nor an error that says why.
    #[error("no response")]
    Nothing,
    /// It has an error in the place of what was asked for.
    #[error("{message}")]
    Error {
        /// What it says.
        message: String,
    },
    /// A header is missing.
    #[error("no {name}")]
    NoHeader {
        /// The header.
        name: &'static str,
    },
    /// A redirect to what is no address of the web.
    #[error("a redirect to no address")]
    Redirect {
        /// Where it leads.
        location: String,
    },
    /// Redirects without an end.
    #[error("more redirects than are followed, {limit}")]
    Redirects {
        /// Redirects that are followed.
        limit: usize,
    },
    /// It has none of the bytes that were asked for.
    #[error("it has no bytes from {from} on, where the unfinished file ends")]
    NoBytes {
        /// The first byte that was asked for.
        from: u64,
    },
    /// It has other bytes than those that were asked for.
    #[error("bytes from {asked} on were asked for, it sends them from {got} on")]
    OtherBytes {
        /// The first byte that was asked for.
        asked: u64,
        /// The first that it sends.
        got: u64,
    },
    /// It is longer than announced.
    #[error("{announced} bytes were announced, {got} came")]
    TooLong {
        /// Bytes that were announced.
        announced: u64,
        /// Bytes that came.
        got: u64,
    },
}

impl AnswerProblem {
    /// The same with the key redacted in what it quotes of the response.
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
