//! What can be wrong with data.

/// The crate's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tokenizer failed.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// Its own words.
        reason: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
