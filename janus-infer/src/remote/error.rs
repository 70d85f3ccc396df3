//! Why a service gave no answer.

use janus_data::http::HttpError;

/// Why a service gave no answer. No variant holds a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The settings, the connection, or what the service said.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The request could cost more than is left of the budget.
    #[error("not asked: {spent:.4} of the budget of {budget:.4} is spent, and this request may cost {cost:.4}")]
    Budget {
        /// Spent so far.
        spent: f64,
        /// The budget.
        budget: f64,
        /// What the request may cost at the most.
        cost: f64,
    },
    /// A whole answer that is none to the request: the service refuses it, or does otherwise than asked. Asking again would
    /// cost as much, and give the same.
    #[error("the service gives no answer: {problem}")]
    NoAnswer {
        /// What it says, or does.
        problem: String,
    },
    /// A batch file that does not fit the requests.
    #[error("batch file: {problem}")]
    Batch {
        /// What is wrong with it.
        problem: String,
    },
}
