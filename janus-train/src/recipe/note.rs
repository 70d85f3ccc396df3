//! What a run says beside its errors.

use std::fmt;
use std::path::PathBuf;

/// Something about a run that a person should know, and that is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Rows with more tokens than `data.max_tokens` are left out.
    TooLong {
        /// Rows left out.
        left_out: usize,
        /// Rows in all.
        rows: usize,
        /// The limit.
        max_tokens: usize,
    },
    /// So many pairs lost tokens at the left of their prompt.
    PromptsCut(usize),
    /// So many pairs have equal responses and are left out.
    EqualResponses(usize),
    /// So many pairs have a response that leaves no room for the prompt and are left out.
    ResponsesTooLong(usize),
    /// Weights in bf16 train on a CPU.
    Bf16OnCpu,
    /// Beside the data nothing can be written: reference log-probabilities go into the run's folder, where no other run finds them.
    ReferenceInRunFolder {
        /// The data.
        data: PathBuf,
        /// The run's folder.
        folder: PathBuf,
        /// Why the first cannot be written.
        reason: String,
    },
    /// The reference log-probabilities are all there.
    Reference {
        /// Their file.
        path: PathBuf,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { left_out, rows, max_tokens } => {
                write!(f, "{left_out} of {rows} rows have more than {max_tokens} tokens and are left out")
            }
            Self::PromptsCut(pairs) => write!(f, "{pairs} pairs lost tokens at the left of their prompt"),
            Self::EqualResponses(pairs) => write!(f, "{pairs} pairs have equal responses and are left out"),
            Self::ResponsesTooLong(pairs) => {
                write!(f, "{pairs} pairs have a response that leaves no room for the prompt and are left out")
            }
            Self::Bf16OnCpu => {
                f.write_str("weights in bf16 on a CPU train many times slower than in f32: set train.dtype to f32, unless to try it out")
            }
            Self::ReferenceInRunFolder { data, folder, reason } => write!(
                f,
                "beside {} nothing can be written ({reason}): reference log-probabilities go to {}, where no other run finds them",
                data.display(),
                folder.display()
            ),
            Self::Reference { path } => write!(f, "reference log-probabilities: {}", path.display()),
        }
    }
}
