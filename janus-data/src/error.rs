//! Errors of files, rows and tokenizers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate. Each variant carries what was found and where.
///
/// An error of another library is a variant's `cause`: it is part of the text, and not the
/// [`source`](std::error::Error::source). An error of the code of a stage is the source, and not part of the
/// text. So a chain of errors repeats nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record that Mini's checkers cannot score.
    #[error("record {id}: {problem}; only records that Mini generated can be graded by its rules")]
    NotMini {
        /// The record's id, empty if it has none.
        id: String,
        /// Why the record is not one of Mini's.
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
    /// A folder that another process has locked.
    #[error("{}: another run is using this folder{}: wait for it, or choose another folder", path.display(), of_process(*process))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The id of the process, if it is known.
        process: Option<u32>,
    },
    /// A file extension whose format is not supported here.
    #[error("{}: unknown file type, expected one of {}", path.display(), known.join(", "))]
    UnknownExtension {
        /// The file.
        path: PathBuf,
        /// The supported extensions.
        known: &'static [&'static str],
    },
    /// An invalid pattern of file names.
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
    /// A mapping of a column that has no effect.
    #[error("the mapping of the field {field} to the column {column} has no effect: {problem}")]
    ColumnMap {
        /// The field.
        field: String,
        /// The column, or JSON pointer.
        column: String,
        /// Why it has none.
        problem: String,
    },
    /// Compressed data that is truncated or damaged.
    #[error("{}{}: the {codec} data is truncated or damaged ({cause}): fetch or write the file again", path.display(), after(*rows))]
    Compressed {
        /// The file.
        path: PathBuf,
        /// How it is compressed: gzip or zstd.
        codec: &'static str,
        /// Rows that were read before the damage.
        rows: u64,
        /// The decoder's error.
        cause: io::Error,
    },
    /// A Parquet or Arrow file with two columns of one name.
    #[error("{}: two columns are named \"{column}\": rename one or leave it out", path.display())]
    TwoColumns {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// A quote of a CSV file that does not open, close or escape. What follows it cannot be told apart.
    #[error("{}, line {line}: {problem}", path.display())]
    Quote {
        /// The file.
        path: PathBuf,
        /// The line, from 1, in which the quoted cell begins.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file that begins as another format than its name says.
    #[error("{}: this file is {found}: name it *.{extension}", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: &'static str,
        /// The extension of that format.
        extension: &'static str,
    },
    /// A file that is not Arrow IPC, is truncated, or has a damaged batch.
    #[cfg(feature = "parquet")]
    #[error("{}{}: not a complete Arrow file ({cause}): fetch or write the file again", path.display(), after(*rows))]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Rows that were read before the damage.
        rows: u64,
        /// The decoder's error.
        cause: arrow::error::ArrowError,
    },
    /// A file that is not Parquet, is truncated, or has a damaged page.
    #[cfg(feature = "parquet")]
    #[error("{}{}: not a complete Parquet file ({cause}): fetch or write the file again", path.display(), after(*rows))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Rows that were read before the damage.
        rows: u64,
        /// The decoder's error.
        cause: parquet::errors::ParquetError,
    },
    /// A row that cannot be read as the requested type.
    #[error("{}, row {row}{}{}: {problem}", path.display(), at_line(*line), in_field(field.as_deref()))]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 1; empty lines are not counted.
        row: u64,
        /// The line, from 1, if rows are lines or the text is malformed.
        line: Option<u64>,
        /// The field, with its path through lists and objects: `rubrics[2].criteria`.
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
    /// A file that is not a tokenizer.
    #[error("{}: not a tokenizer ({cause}): expected a tokenizer.json of the Hugging Face tokenizers library", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// The library's error.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An operation of the tokenizer failed.
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
        /// The requested size.
        vocab_size: usize,
        /// The number of requested special tokens.
        special_tokens: usize,
    },
    /// A text that cannot be a special token.
    #[error("\"{token}\" cannot be a special token: {rule}")]
    SpecialToken {
        /// Its spelling.
        token: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A special token that the tokenizer does not have.
    #[error(
        "the tokenizer has no token \"{token}\": use a tokenizer that has it, or the chat template that this one was made for"
    )]
    NoSuchToken {
        /// Its spelling.
        token: String,
    },
    /// A row whose loss mask is all false.
    #[error(
        "the loss mask is empty: a conversation needs a non-empty assistant message, a document at least two tokens"
    )]
    NothingTrained,
    /// A conversation whose ids do not begin with those of the prompt of one of its answers, so that the
    /// model would be trained after another prompt than it is used with.
    #[error(
        "the prompt before message {message} is not the beginning of the conversation, as the chat template renders both: use another template; an answer before the last can also be left out of the loss (`loss = \"last\"`, or `train` false)"
    )]
    PromptNotPrefix {
        /// The index of the answer among the messages, from 0.
        message: usize,
    },
    /// A conversation that a model's own chat template cannot format.
    #[error("{cause}")]
    Format {
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A pair whose sides answer different prompts.
    #[error(
        "chosen and rejected answer different prompts: expected the same messages before the last, the assistant's"
    )]
    PairPrompts,
    /// A token row whose loss mask does not have the length of its ids, or that has no ids.
    #[error("row {row} has {ids} ids and a loss mask of {loss_mask}: expected equal lengths of at least 1")]
    RowShape {
        /// The row's position, from 0.
        row: usize,
        /// Its number of ids.
        ids: usize,
        /// The length of its loss mask.
        loss_mask: usize,
    },
    /// A row that is longer than a packed row.
    #[error(
        "row {row} has {tokens} tokens, a packed row holds {capacity}: leave the row out or raise the capacity"
    )]
    RowTooLong {
        /// The row's position, from 0.
        row: usize,
        /// Its length.
        tokens: usize,
        /// Tokens that a packed row holds.
        capacity: usize,
    },
    /// A row that a dataset does not have.
    #[error("row {row} does not exist: there are {rows} rows, counted from 0")]
    NoSuchRow {
        /// The requested position, from 0.
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
    /// A folder that is not a token file, or an incomplete one.
    #[cfg(feature = "tokenize")]
    #[error("{}: not a complete token file ({problem}): write it again", path.display())]
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
    /// A token file that was written with another tokenizer or chat template than the model's.
    #[error(
        "{}: its rows were written with another {what} ({}, expected {expected}): tokenise the text again with the model's \
         tokenizer and template",
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
    /// Datasets that cannot be mixed.
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
    /// The value has the wrong type.
    Mismatch {
        /// The type that was expected.
        expected: String,
        /// What was found instead.
        got: String,
    },
    /// The value breaks a rule, which the text states.
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
    /// The row is larger than the limit.
    TooLong {
        /// The limit, in bytes.
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
            Problem::Utf8 { column } => {
                write!(f, "the byte at column {column} is not UTF-8: convert the file to UTF-8")
            }
            Problem::DoubledKey(key) => write!(f, "the key \"{key}\" occurs twice: keep one of the rows"),
            Problem::TooLong { limit } => {
                write!(f, "the row is larger than {limit} bytes: raise the limit or leave the row out")
            }
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
    fn no_cause_is_repeated() {
        let io = || io::Error::other("disk full");
        let row = || Error::AtRow { row: 2, cause: Box::new(Error::NothingTrained) };
        let errors = [
            Error::io(Path::new("a.jsonl"), "read the file")(io()),
            Error::Compressed { path: "a.gz".into(), codec: "gzip", rows: 1, cause: io() },
            #[cfg(feature = "parquet")]
            Error::Arrow {
                path: "a.arrow".into(),
                rows: 1,
                cause: arrow::error::ArrowError::ComputeError("disk full".into()),
            },
            #[cfg(feature = "parquet")]
            Error::Parquet {
                path: "a.parquet".into(),
                rows: 1,
                cause: parquet::errors::ParquetError::General("disk full".into()),
            },
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
