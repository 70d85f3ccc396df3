//! The crate's error type.

use std::fmt;
use std::sync::Arc;

use crate::answer::{AnswerFileProblem, PromptProblem};

/// Why an evaluation cannot be computed. Each variant carries the offending data.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A mean, an interval or a rate of an empty list.
    #[error("cannot compute {what}: there are no rows; check that scoring produced any")]
    Empty {
        /// The quantity that cannot be computed.
        what: &'static str,
    },
    /// An interval over fewer than two independent units.
    #[error(
        "a bootstrap needs at least two independent rows or clusters, got {got}: evaluate more of them, or report no interval"
    )]
    TooFewUnits {
        /// Number of units.
        got: usize,
    },
    /// A value that is NaN or infinite.
    #[error("value {index} of {what} is {value}: expected a finite number")]
    NotFinite {
        /// What the value belongs to.
        what: &'static str,
        /// Its position, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A setting outside its range.
    #[error("{field} is {got}: expected {expected}")]
    Setting {
        /// The setting's name.
        field: &'static str,
        /// Its value.
        got: String,
        /// The allowed values.
        expected: &'static str,
    },
    /// A judge's prompt that cannot be used.
    #[error("the judge's prompt {id}: {problem}")]
    Prompt {
        /// The prompt's id.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An annotator's result file that cannot be used.
    #[error("{}: {problem}", path.display())]
    Annotations {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Two lists of paired values have different lengths.
    #[error("paired values need equal lengths, got {left} and {right}: join them by id first")]
    Lengths {
        /// Values on the left.
        left: usize,
        /// Values on the right.
        right: usize,
    },
    /// A response for a record that the bench does not have.
    #[error("response {index} is for id \"{id}\", which no bench record has: was it made for another bench?")]
    UnknownId {
        /// The id.
        id: String,
        /// Position of the response, from 0.
        index: usize,
    },
    /// A question that a file of answers does not answer.
    #[error("{file}: no answer to question {question}")]
    NoAnswer {
        /// The file.
        file: String,
        /// The question's id.
        question: String,
    },
    /// An id that occurs twice in a list whose ids must be unique.
    #[error("{what} {first} and {second} both have id \"{id}\": keep one of them")]
    DoubledId {
        /// What has the id, e.g. "bench records", "responses", "rows", "claims".
        what: &'static str,
        /// The id.
        id: String,
        /// Position of the first, from 0.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// The compared runs or models were not scored on the same rows in the same order.
    #[error(
        "row {index} is \"{left}\" in one list and \"{right}\" in the other: compare scores of the same bench, in its order"
    )]
    RowMismatch {
        /// Position of the row, from 0.
        index: usize,
        /// Id in the first list, or "no row".
        left: String,
        /// Id in the other list, or "no row".
        right: String,
    },
    /// A score outside 1..=5 in a scored row.
    #[error("row \"{id}\" has score {got} for rubric {rubric}: expected 1 to 5, or no score")]
    ScoreOutOfRange {
        /// The row's id.
        id: String,
        /// Position of the rubric, from 0.
        rubric: usize,
        /// The score.
        got: u8,
    },
    /// A section refers to a claim that the report does not have.
    #[error("a section shows claim \"{id}\", which the report does not have: add it to the report's claims")]
    UnknownClaim {
        /// The claim's id.
        id: String,
    },
    /// A table row whose number of cells is not the number of columns.
    #[error("row {row} of table \"{table}\" has {got} cells, expected {expected}")]
    TableShape {
        /// The table's caption.
        table: String,
        /// Position of the row, from 0.
        row: usize,
        /// Number of columns.
        expected: usize,
        /// Number of cells.
        got: usize,
    },
    /// A figure that cannot be drawn from its data.
    #[error("figure \"{figure}\": {problem}")]
    Figure {
        /// The figure's title.
        figure: String,
        /// What is wrong.
        problem: String,
    },
    /// A row of data that breaks a rule. Its position counts from 1, as in messages about files.
    #[error("row {row}, field \"{field}\": expected {expected}, got {got}")]
    Row {
        /// The row, from 1.
        row: usize,
        /// The field.
        field: &'static str,
        /// The allowed values.
        expected: String,
        /// The value found.
        got: String,
    },
    /// A row of a prompt file that cannot be made into a task.
    #[error("row {row}, field \"{field}\": {problem}")]
    Prompts {
        /// The row, from 1.
        row: usize,
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: PromptProblem,
    },
    /// An answer file that does not hold the expected answers.
    #[error("{} holds {problem}", path.display())]
    AnswerFile {
        /// The file.
        path: std::path::PathBuf,
        /// What it holds instead.
        problem: AnswerFileProblem,
    },
    /// An error in the rows of a file.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        error: Box<Error>,
    },
    /// A file of a run folder that has another format, or is inconsistent with the folder's other files.
    #[error("{}: {problem}", path.display())]
    RunFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A record that its judge cannot score.
    #[error("record {id}: {reason}")]
    Unscored {
        /// The record's id.
        id: String,
        /// The judge's reason.
        reason: String,
    },
    /// A reward model that failed.
    #[error("the reward model {model}: {reason}")]
    Reward {
        /// The model's name.
        model: String,
        /// Its error and the sources of that error.
        reason: String,
    },
    /// Reference data that lacks something an evaluation needs, or has it in another form.
    #[error("{what}: expected {expected}, got {got}")]
    Reference {
        /// The item that was checked.
        what: String,
        /// The expected content.
        expected: String,
        /// The content found.
        got: String,
    },
    /// A coefficient that is undefined on this data.
    #[error("{what} is undefined: {why}")]
    Undefined {
        /// The coefficient.
        what: &'static str,
        /// Why.
        why: &'static str,
    },
    /// Bradley-Terry strengths that the comparisons do not determine: a player that only won or only
    /// lost has no finite strength.
    #[error("player {player} has no finite strength: within the comparisons, {why}")]
    NoStrength {
        /// The player's position, from 0.
        player: usize,
        /// Why.
        why: &'static str,
    },
    /// An iterative fit that did not converge.
    #[error("{what} did not converge in {iterations} iterations: look for extreme values in its rows")]
    NotConverged {
        /// The fit.
        what: &'static str,
        /// Number of iterations.
        iterations: usize,
    },
    /// An error of `janus_core`, such as a value outside its range.
    #[error(transparent)]
    Core(#[from] janus_core::Error),
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A report file of another format or version.
    #[error("cannot read the report: {problem}")]
    ReportFile {
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// A row that breaks a rule; `row` counts from 0 here.
    pub(crate) fn row(
        row: usize,
        field: &'static str,
        expected: impl Into<String>,
        got: impl fmt::Display,
    ) -> Self {
        Self::Row { row: row + 1, field, expected: expected.into(), got: got.to_string() }
    }

    /// Reference data that differs from what is expected.
    pub(crate) fn reference(
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl fmt::Display,
    ) -> Self {
        Self::Reference { what: what.into(), expected: expected.into(), got: got.to_string() }
    }
}

/// An error of `janus_data`. It names the file, row and field. Two are equal if their messages are.
#[derive(Debug, Clone)]
pub struct FileError(Arc<janus_data::Error>);

impl FileError {
    /// The wrapped error.
    pub fn reader(&self) -> &janus_data::Error {
        &self.0
    }
}

impl From<janus_data::Error> for Error {
    fn from(error: janus_data::Error) -> Self {
        Self::File(FileError(Arc::new(error)))
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl PartialEq for FileError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
