//! What can be wrong with an evaluation.

/// An evaluation that cannot be computed as asked. Each variant carries what was found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A mean, an interval or a rate of nothing.
    #[error("{what} has no value: nothing can be computed from none, so check that the rows before it were scored")]
    Empty {
        /// What was to be computed from.
        what: &'static str,
    },
    /// An interval over fewer than two independent units.
    #[error("a bootstrap needs at least two independent rows or clusters, got {got}: evaluate more of them, or report no interval")]
    TooFewUnits {
        /// Units there were.
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
    /// A setting of the bootstrap outside its range.
    #[error("{field} is {got}: expected {expected}")]
    Setting {
        /// The setting's name.
        field: &'static str,
        /// Its value.
        got: String,
        /// What it may be.
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
    /// Two lists that are to be compared value by value have different lengths.
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
    /// An id that occurs twice where it may occur once.
    #[error("{what} {first} and {second} both have id \"{id}\": keep one of them")]
    DoubledId {
        /// What has the id: "bench records", "responses" or "rows".
        what: &'static str,
        /// The id.
        id: String,
        /// Position of the first, from 0.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// Runs or models that are to be compared were not scored on the same rows in the same order.
    #[error("row {index} is \"{left}\" in one list and \"{right}\" in the other: compare scores of the same bench, in its order")]
    RowMismatch {
        /// Position of the row, from 0.
        index: usize,
        /// Id in the first list, or "no row".
        left: String,
        /// Id in the other list, or "no row".
        right: String,
    },
    /// A score outside 1..=5 in a scored row.
    #[error("row \"{id}\" has score {got} for rubric {rubric}: expected 1 to 5, or none")]
    ScoreOutOfRange {
        /// The row's id.
        id: String,
        /// Position of the rubric, from 0.
        rubric: usize,
        /// The score.
        got: u8,
    },
    /// A claim whose id is doubled, or that is shown but was never made.
    #[error("the report {problem} claim \"{id}\"")]
    Claim {
        /// The claim's id.
        id: String,
        /// "has two of" or "shows but does not have".
        problem: &'static str,
    },
    /// A table with a row that has not one cell for each column.
    #[error("row {row} of table \"{table}\" has {got} cells, expected {expected}")]
    TableShape {
        /// The table's caption.
        table: String,
        /// Position of the row, from 0.
        row: usize,
        /// Columns.
        expected: usize,
        /// Cells.
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
    /// A report file of another format or version.
    #[error("cannot read the report: {problem}")]
    ReportFile {
        /// What is wrong with it.
        problem: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
