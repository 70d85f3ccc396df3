//! Why a server gave no answer.

use std::time::Duration;

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
    #[error("the connection failed: {reason}")]
    Connection {
        /// What happened.
        reason: String,
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
        problem: String,
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
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => Self::Connection { reason: error.to_string(), sent: false },
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                Self::Connection { reason: io.to_string(), sent: false }
            }
            error => Self::Connection { reason: error.to_string(), sent: true },
        }
    }

    /// Whether the server may have done the work, and bill it, all the same.
    pub fn may_be_paid(&self) -> bool {
        !matches!(self, Self::Connection { sent: false, .. })
    }
}
