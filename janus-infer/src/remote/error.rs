//! Why a request has no response.

use janus_data::http::HttpError;

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
    /// A complete response without the completions that were asked for: a refusal, or another number of choices. It is not retried:
    /// that would cost as much and give the same.
    #[error("the service gives no answer: {problem}")]
    NoAnswer {
        /// What the response has instead.
        problem: String,
    },
    /// A batch file that does not fit the requests.
    #[error("batch file: {problem}")]
    Batch {
        /// What is wrong with it.
        problem: String,
    },
}
