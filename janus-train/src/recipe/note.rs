//! Notes that a run passes to its observer: warnings and information, not errors.

use std::fmt;
use std::path::PathBuf;

use janus_data::sources::UnreadFields;

/// A warning or a piece of information about a run. It is not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Rows that cannot be read are skipped.
    Skipped {
        /// Rows skipped.
        rows: u64,
        /// The error of the first one.
        first: String,
    },
    /// Rows that the chat template refuses are skipped.
    Refused {
        /// Rows skipped.
        rows: u64,
        /// The error of the first one.
        first: String,
    },
    /// Rows are longer than the model's context.
    LongerThanContext {
        /// Tokens of the longest row.
        longest: usize,
        /// The positions that the model was made for.
        positions: usize,
    },
    /// Rows without what the objective trains on are left out.
    LeftOut {
        /// Rows left out.
        rows: usize,
        /// Why.
        reason: &'static str,
    },
    /// Fields of the rows that the layout does not read.
    Unread(UnreadFields),
    /// Rows with more tokens than `data.max_tokens` are left out.
    TooLong {
        /// Rows left out.
        left_out: usize,
        /// Total rows.
        rows: usize,
        /// The limit.
        max_tokens: usize,
    },
    /// The number of pairs of which only the chosen response is trained on, by an objective that takes
    /// conversations.
    ChosenOfPairs(usize),
    /// The number of pairs that lost tokens at the left of their prompt.
    PromptsCut(usize),
    /// The number of pairs that are left out because their responses are equal.
    EqualResponses(usize),
    /// The number of pairs that are left out because a response leaves no room for the prompt.
    ResponsesTooLong(usize),
    /// The last micro-batches of the epochs do not fill a step.
    LeftOver {
        /// Micro-batches that are not trained on.
        left_over: u64,
        /// Micro-batches of all epochs.
        micro_batches: u64,
        /// Micro-batches of a step.
        per_step: usize,
    },
    /// Weights in bf16 are trained on a CPU.
    Bf16OnCpu,
    /// The data's folder is not writable. Reference log-probabilities are stored in the run's folder,
    /// where other runs do not find them.
    ReferenceInRunFolder {
        /// The data.
        data: PathBuf,
        /// The run's folder.
        folder: PathBuf,
        /// Why the data's folder is not writable.
        reason: String,
    },
    /// All reference log-probabilities are computed and stored.
    Reference {
        /// Their file.
        path: PathBuf,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped { rows, first } => write!(f, "{rows} rows cannot be read and are skipped; the first: {first}"),
            Self::Refused { rows, first } => {
                write!(f, "{rows} rows are refused by the chat template and are skipped; the first: {first}")
            }
            Self::LongerThanContext { longest, positions } => write!(
                f,
                "the longest row has {longest} tokens, and the model was made for {positions}: lower data.max_tokens, unless it is to learn longer texts"
            ),
            Self::LeftOut { rows, reason } => write!(f, "{rows} rows are left out: {reason}"),
            Self::Unread(fields) => write!(f, "fields that are not read, with their rows: {fields}"),
            Self::TooLong { left_out, rows, max_tokens } => {
                write!(f, "{left_out} of {rows} rows have more than {max_tokens} tokens and are left out")
            }
            Self::ChosenOfPairs(pairs) => {
                write!(f, "{pairs} rows are pairs: only their chosen responses are trained on")
            }
            Self::PromptsCut(pairs) => write!(f, "{pairs} pairs lost tokens at the left of their prompt"),
            Self::EqualResponses(pairs) => write!(f, "{pairs} pairs have equal responses and are left out"),
            Self::ResponsesTooLong(pairs) => {
                write!(f, "{pairs} pairs have a response that leaves no room for the prompt and are left out")
            }
            Self::LeftOver { left_over, micro_batches, per_step } => write!(
                f,
                "the last {left_over} of {micro_batches} micro-batches do not fill a step of {per_step} and are not trained on: \
                 lower train.gradient_accumulation_steps or set train.steps to use them"
            ),
            Self::Bf16OnCpu => {
                f.write_str("weights in bf16 on a CPU train many times slower than in f32: set train.dtype to f32, unless this is a trial")
            }
            Self::ReferenceInRunFolder { data, folder, reason } => write!(
                f,
                "the folder of {} is not writable ({reason}): reference log-probabilities go to {}, where other runs do not find them",
                data.display(),
                folder.display()
            ),
            Self::Reference { path } => write!(f, "reference log-probabilities: {}", path.display()),
        }
    }
}
