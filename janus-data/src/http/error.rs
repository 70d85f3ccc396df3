//! Why a service gave no answer.

use std::time::Duration;

/// Why a service gave no answer. No variant holds a key.
#[derive(Debug, thiserror::Error)]
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
    /// The service answered with an error.
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
    /// The answer is not what the protocol says.
    #[error("the answer cannot be read: {problem}")]
    Answer {
        /// What is wrong with it.
        problem: String,
    },
    /// Every attempt failed.
    #[error("gave up after {attempts} attempts: {source}")]
    GaveUp {
        /// Attempts made.
        attempts: usize,
        /// The last one's error.
        source: Box<HttpError>,
    },
    /// An earlier answer said that nothing more will be answered.
    #[error("not asked: {reason}")]
    Closed {
        /// What the service said then.
        reason: String,
    },
    /// The service asked for a long pause, and it is not over.
    #[error("not asked: the service asks for a pause of another {:.0} s, and {} s are waited at the most", left.as_secs_f64(), most.as_secs_f64())]
    Paused {
        /// What is left of the pause.
        left: Duration,
        /// The longest pause that is waited for: [`Backoff::most`](super::Backoff::most).
        most: Duration,
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

    /// Whether the service may have done the work all the same.
    pub fn may_be_paid(&self) -> bool {
        !matches!(self, Self::Connection { sent: false, .. })
    }
}
