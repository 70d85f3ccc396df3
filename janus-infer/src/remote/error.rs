//! The errors of the client.

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
    #[error(
        "not sent: {spent:.4} of the budget of {budget:.4} is spent, and this request may cost {cost:.4}"
    )]
    Budget {
        /// Spent so far.
        spent: f64,
        /// The budget.
        budget: f64,
        /// The most that the request can cost.
        cost: f64,
    },
    /// A complete response without the requested completions. It is not retried, which would cost as
    /// much and likely give the same.
    #[error("the response has no answer: {0}")]
    NoAnswer(NoAnswer),
    /// A request of a batch that the endpoint does not support.
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

/// What is wrong with a complete response that does not have the requested completions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The wrong number of choices, or wrong indices.
    #[error("expected {expected} choices, got {} ({})", got.len(), listed(got))]
    Choices {
        /// The number of choices that was requested.
        expected: usize,
        /// The indices of those that were received, sorted.
        got: Vec<usize>,
    },
    /// A choice whose finish reason is neither `stop` nor `length`.
    #[error("finish_reason is \"{reason}\"")]
    Ended {
        /// Its `finish_reason`.
        reason: String,
    },
    /// A refusal.
    #[error("the model refused: {text}")]
    Refused {
        /// The text of the refusal.
        text: String,
    },
    /// A choice without a text.
    #[error("the text is missing")]
    NoText,
}

impl NoAnswer {
    /// The same with the API key redacted in the response's texts.
    pub(super) fn redacted(self, key: Option<&ApiKey>) -> Self {
        let Some(key) = key else { return self };
        match self {
            Self::Ended { reason } => Self::Ended { reason: key.redact(&reason) },
            Self::Refused { text } => Self::Refused { text: key.redact(&text) },
            other => other,
        }
    }
}

/// Why an endpoint does not support a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestProblem {
    /// Log-probabilities of a plain-text completion.
    #[error("log-probabilities are not supported for /completions")]
    Logprobs,
    /// A request to `/completions` that is not a single message.
    #[error("/completions takes one message, the text, and no system message: got {got} messages")]
    Messages {
        /// The number of messages in the request.
        got: usize,
    },
}

/// What is wrong with a line of a batch output file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchProblem {
    /// It is not a batch response.
    #[error("not a batch response ({message})")]
    NotAResponse {
        /// The parser's message.
        message: String,
    },
    /// No request has its id.
    #[error("no request has the id \"{id}\": is this the output of another batch?")]
    UnknownId {
        /// Its `custom_id`.
        id: String,
    },
    /// An earlier line has the same id.
    #[error("an earlier line has the id \"{id}\" too")]
    DoubledId {
        /// Its `custom_id`.
        id: String,
    },
}

fn listed(indices: &[usize]) -> String {
    indices.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
