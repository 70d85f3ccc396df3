//! Errors of files, rows and tokenizers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate. Each variant carries what was found and where.
///
/// What another library said is a variant's `cause`: it is part of the text, and not the [`source`](std::error::Error::source).
/// What the code of a stage said is the source, and not part of the text. So a chain of errors says nothing twice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record that Mini's checkers cannot score.
    #[error("record {id}: {problem}; only records that Mini wrote can be graded by computation")]
    NotMini {
        /// The record's id, empty if it has none.
        id: String,
        /// What is not Mini's.
        problem: crate::mini::NotMini,
    },
    /// The operating system refused, or the file is not there.
    #[error("{}: cannot {doing}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done, as a verb: "open the file".
        doing: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// A folder in which another process works.
    #[error("{}: another run is at work here{}: wait for it, or give another folder", path.display(), of_process(*process))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process, if it can be named.
        process: Option<u32>,
    },
    /// A file extension of no format that can be used here.
    #[error("{}: unknown file type, expected one of {}", path.display(), known.join(", "))]
    UnknownExtension {
        /// The file.
        path: PathBuf,
        /// The endings that would do.
        known: &'static [&'static str],
    },
    /// A pattern of file names that is broken.
    #[error("{pattern}: {cause}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        cause: glob::PatternError,
    },
    /// A pattern of file names that matches nothing.
    #[error("{pattern}: no file matches")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// Compressed data that ends early or is damaged.
    #[error("{}{}: the {codec} data is cut short or damaged ({cause}): fetch or write the file again", path.display(), after(*rows))]
    Compressed {
        /// The file.
        path: PathBuf,
        /// How it is compressed: gzip or zstd.
        codec: &'static str,
        /// Rows that could be read before.
        rows: u64,
        /// The decoder's error.
        cause: io::Error,
    },
    /// A file that is not Arrow IPC, or lacks its end, or has a damaged batch.
    #[cfg(feature = "parquet")]
    #[error("{}{}: not a whole Arrow file ({cause}): fetch or write the file again", path.display(), after(*rows))]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Rows that could be read before.
        rows: u64,
        /// The decoder's error.
        cause: arrow::error::ArrowError,
    },
    /// A file that is not Parquet, or lacks its end, or has a damaged page.
    #[cfg(feature = "parquet")]
    #[error("{}{}: not a whole Parquet file ({cause}): fetch or write the file again", path.display(), after(*rows))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Rows that could be read before.
        rows: u64,
        /// The decoder's error.
        cause: parquet::errors::ParquetError,
    },
    /// A row that cannot be read as what was asked for.
    #[error("{}, row {row}{}{}: {problem}", path.display(), at_line(*line), in_field(field.as_deref()))]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 1; empty lines are not counted.
        row: u64,
        /// The line, from 1, where a row is a line or the text is broken.
        line: Option<u64>,
        /// The field, with its way through lists and objects: `rubrics[2].criteria`.
        field: Option<String>,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A row that cannot be written.
    #[error("{}, row {row}: cannot be written ({cause})", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The row, from 1.
        row: u64,
        /// The encoder's error.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that cannot be used as a journal.
    #[error("{}: {problem}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: crate::JournalProblem,
    },
    /// A tokenizer file that is not one.
    #[error("{}: not a tokenizer ({cause}): expected a tokenizer.json of the Hugging Face tokenizers library", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// The library's error.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tokenizer failed at its work.
    #[error("the tokenizer cannot {doing}: {cause}")]
    Tokenizer {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The library's error.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A vocabulary too small for the bytes and the special tokens.
    #[error("a vocabulary of {vocab_size} is too small: 256 bytes and {special_tokens} special tokens need {}", 256 + special_tokens)]
    VocabularyTooSmall {
        /// The size asked for.
        vocab_size: usize,
        /// Special tokens asked for.
        special_tokens: usize,
    },
    /// A special token that cannot be one.
    #[error("\"{token}\" cannot be a special token: {rule}")]
    SpecialToken {
        /// Its spelling.
        token: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A special token that the tokenizer does not have.
    #[error("the tokenizer has no token \"{token}\": use a tokenizer that has it, or the chat template that this one was made for")]
    NoSuchToken {
        /// Its spelling.
        token: String,
    },
    /// A row whose loss mask is all false.
    #[error("the loss mask is empty: a conversation needs a non-empty assistant message, a document at least two tokens")]
    NothingTrained,
    /// A pair whose sides answer different prompts.
    #[error("chosen and rejected answer different prompts: expected the same messages before the last, the assistant's")]
    PairPrompts,
    /// A token row whose loss mask does not have the length of its ids, or that has no ids.
    #[error("row {row} has {ids} ids and a loss mask of {loss_mask}: expected one length, of at least 1")]
    RowShape {
        /// The row's position, from 0.
        row: usize,
        /// Its number of ids.
        ids: usize,
        /// Its number of flags.
        loss_mask: usize,
    },
    /// A row that fits in no packed row.
    #[error("row {row} has {tokens} tokens, a packed row holds {capacity}: leave the row out or raise the capacity")]
    RowTooLong {
        /// The row's position, from 0.
        row: usize,
        /// Its length.
        tokens: usize,
        /// What a packed row holds.
        capacity: usize,
    },
    /// A row that a dataset does not have.
    #[error("row {row} was asked for, and there are {rows}")]
    NoSuchRow {
        /// The position asked for, from 0.
        row: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// An error in one row of many.
    #[error("row {row}: {cause}")]
    AtRow {
        /// The row's position, from 0.
        row: usize,
        /// What is wrong with it.
        cause: Box<Error>,
    },
    /// A folder that is no token file, or not a whole one.
    #[cfg(feature = "tokenize")]
    #[error("{}: not a whole token file ({problem}): write it again", path.display())]
    TokenFile {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is wrong with it.
        problem: crate::TokenFileProblem,
    },
    /// An id that a token file cannot hold.
    #[error("row {row} has the id {id}: a token file holds ids below 2^31")]
    TokenId {
        /// The row's position, from 0.
        row: usize,
        /// The id.
        id: u32,
    },
    /// A stage of a run that failed.
    #[error("stage {stage}")]
    Stage {
        /// Number and name: "03-sft".
        stage: String,
        /// Why: the error of the stage's own code, or one of this crate.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An input of a stage that cannot be read.
    #[error("input \"{label}\"")]
    StageInput {
        /// What the stage calls it.
        label: String,
        /// Why.
        source: Box<Error>,
    },
    /// Rows on disk that another tokenizer or chat template made than the one that is to read them.
    #[error(
        "{}: its rows were made with another {what} ({}, expected {expected}): make them again from the text, with the model's tokenizer \
         and template",
        path.display(), got.as_deref().unwrap_or("not recorded")
    )]
    OtherTokens {
        /// The token file.
        path: PathBuf,
        /// `tokenizer` or `chat template`.
        what: &'static str,
        /// The tokenizer's fingerprint or the template's name, if the file has it.
        got: Option<String>,
        /// That of the model.
        expected: String,
    },
    /// Parts that cannot be mixed.
    #[error("the parts cannot be mixed: {0}")]
    Mix(crate::MixProblem),
    /// A value that breaks a rule of the domain.
    #[error(transparent)]
    Domain(#[from] janus_core::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |cause| Error::Io { path: path.into(), doing, cause }
    }
}

/// What is wrong with a row or a field of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The field is not there.
    Missing,
    /// The value is of another kind than needed.
    Mismatch {
        /// What was needed.
        expected: String,
        /// What was found.
        got: String,
    },
    /// The value breaks a rule, in the words of whoever checks it.
    Rule(String),
    /// The text is not JSON.
    Syntax {
        /// The parser's message.
        message: String,
        /// Position in the line, from 1, in bytes.
        column: usize,
    },
    /// The bytes are not UTF-8.
    Utf8 {
        /// Position of the first wrong byte in the line, from 1.
        column: usize,
    },
    /// A key occurs twice in an object.
    DoubledKey(String),
    /// The row is larger than what is held at a time.
    TooLong {
        /// What is held, in bytes.
        limit: usize,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing => f.write_str("missing"),
            Problem::Mismatch { expected, got } => write!(f, "expected {expected}, got {got}"),
            Problem::Rule(message) => f.write_str(message),
            Problem::Syntax { message, column } => write!(f, "not JSON at column {column} ({message})"),
            Problem::Utf8 { column } => write!(f, "the byte at column {column} is not UTF-8: convert the file to UTF-8"),
            Problem::DoubledKey(key) => write!(f, "the key \"{key}\" stands twice: keep one of the rows"),
            Problem::TooLong { limit } => write!(f, "the row is larger than {limit} bytes: raise the limit or leave the row out"),
        }
    }
}

fn of_process(process: Option<u32>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

fn after(rows: u64) -> String {
    if rows == 0 { String::new() } else { format!(", after row {rows}") }
}

fn at_line(line: Option<u64>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

pub(crate) fn in_field(field: Option<&str>) -> String {
    field.map(|field| format!(", field \"{field}\"")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn no_cause_is_said_twice() {
        let io = || io::Error::other("disk full");
        let row = || Error::AtRow { row: 2, cause: Box::new(Error::NothingTrained) };
        let errors = [
            Error::io(Path::new("a.jsonl"), "read the file")(io()),
            Error::Compressed { path: "a.gz".into(), codec: "gzip", rows: 1, cause: io() },
            #[cfg(feature = "parquet")]
            Error::Arrow { path: "a.arrow".into(), rows: 1, cause: arrow::error::ArrowError::ComputeError("disk full".into()) },
            #[cfg(feature = "parquet")]
            Error::Parquet { path: "a.parquet".into(), rows: 1, cause: parquet::errors::ParquetError::General("disk full".into()) },
            Error::Encode { path: "a.csv".into(), row: 1, cause: "disk full".into() },
            Error::TokenizerFile { path: "t.json".into(), cause: "disk full".into() },
            Error::Tokenizer { doing: "encode the text", cause: "disk full".into() },
            row(),
            janus_core::Error::NoPreference.into(),
        ];
        for error in errors {
            let chain = janus_core::error_chain(&error);
            assert!(chain.matches("disk full").count() <= 1 && error.source().is_none(), "{chain}");
        }
        assert_eq!(janus_core::error_chain(&row()), format!("row 2: {}", Error::NothingTrained));
    }
}
