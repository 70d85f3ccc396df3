//! Why a request has no response.

use std::path::PathBuf;

use janus_data::http::{ApiKey, HttpError};

/// Why a request has no response. No variant holds a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The options, the connection, or an error response.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The request might exceed the budget.
    #[error("not asked: {spent:.4} of the budget of {budget:.4} is spent, and this request may cost {cost:.4}")]
    Budget {
        /// Spent so far.
        spent: f64,
        /// The budget.
        budget: f64,
        /// The most that the request can cost.
        cost: f64,
    },
    /// A complete response without the completions that were asked for. It is not retried: that would cost as much and give the same.
    #[error("the service gives no answer: {0}")]
    NoAnswer(NoAnswer),
    /// A request of a batch that the endpoint does not take.
    #[error("request {id}: {problem}")]
    Request {
        /// The request's id.
        id: String,
        /// What is wrong with it.
        problem: RequestProblem,
    },
    /// Two requests of a batch with one id.
    #[error("two requests of the batch have the id \"{id}\": give each its own")]
    DoubledId {
        /// The id.
        id: String,
    },
    /// A line of a batch output file that cannot be used.
    #[error("{}, line {line}: {problem}", path.display())]
    BatchLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: BatchProblem,
    },
    /// A batch file that cannot be read or written.
    #[error(transparent)]
    File(#[from] janus_data::Error),
}

/// What a complete response has in the place of the completions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// Another number of choices, or other indices.
    #[error("{expected} choices were asked for, it has {} ({})", got.len(), listed(got))]
    Choices {
        /// Choices that were asked for.
        expected: usize,
        /// The indices of those that came, sorted.
        got: Vec<usize>,
    },
    /// A choice that ended for another reason than its end or its length.
    #[error("it ended because of \"{reason}\"")]
    Ended {
        /// Its `finish_reason`.
        reason: String,
    },
    /// A refusal.
    #[error("it refuses: {text}")]
    Refused {
        /// What it says.
        text: String,
    },
    /// A choice without a text.
    #[error("it has no text")]
    NoText,
}

impl NoAnswer {
    /// The same with the key blotted out of what the response says.
    pub(super) fn redacted(self, key: Option<&ApiKey>) -> Self {
        let Some(key) = key else { return self };
        match self {
            Self::Ended { reason } => Self::Ended { reason: key.redact(&reason) },
            Self::Refused { text } => Self::Refused { text: key.redact(&text) },
            other => other,
        }
    }
}

/// What an endpoint does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestProblem {
    /// Log-probabilities of a completion.
    #[error("log-probabilities of a completion are not asked for")]
    Logprobs,
    /// A text that is not one message.
    #[error("a text is one message, with no system message, got {got}")]
    Messages {
        /// Messages of the request.
        got: usize,
    },
}

/// What is wrong with a line of a batch output file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchProblem {
    /// It is no batch response.
    #[error("not a batch response ({message})")]
    NotAResponse {
        /// The parser's message.
        message: String,
    },
    /// No request has its id.
    #[error("no request has the id \"{id}\": is this the answer to another batch?")]
    UnknownId {
        /// Its `custom_id`.
        id: String,
    },
    /// An earlier line has its id.
    #[error("the id \"{id}\" is there twice")]
    DoubledId {
        /// Its `custom_id`.
        id: String,
    },
}

fn listed(indices: &[usize]) -> String {
    indices.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
