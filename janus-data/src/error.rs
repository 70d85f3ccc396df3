//! What can go wrong with data.

/// The crate's error; each variant says where it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record that Mini's checkers cannot score.
    #[error("record {id}: {reason}; only records that Mini wrote can be graded by computation")]
    NotMini {
        /// The record's id, empty if it has none.
        id: String,
        /// What is not Mini's.
        reason: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
