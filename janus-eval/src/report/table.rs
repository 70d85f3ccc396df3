//! Tables.

use serde::{Deserialize, Serialize};

use super::{finite, number};
use crate::stats::Interval;
use crate::{Error, Result};

/// A table: a caption, named columns, rows of cells. The first column has the names of the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What the table shows, and its unit.
    pub caption: String,
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, one cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table. JSON has the full value of a number; `decimals` applies to Markdown and HTML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Plain text.
    Text(String),
    /// A whole number.
    Count(usize),
    /// A number.
    Number {
        /// Its value.
        value: f64,
        /// Digits after the decimal point.
        decimals: usize,
    },
    /// An estimate with its interval: `4.12 [4.01, 4.22]`.
    Interval {
        /// The estimate and its interval.
        interval: Interval,
        /// Digits after the decimal point.
        decimals: usize,
    },
    /// No value.
    Empty,
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            caption: caption.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(mut self, cells: impl Into<Vec<Cell>>) -> Self {
        self.rows.push(cells.into());
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        for (row, cells) in self.rows.iter().enumerate() {
            let (expected, got) = (self.columns.len(), cells.len());
            if got != expected {
                return Err(Error::TableShape { table: self.caption.clone(), row, expected, got });
            }
            for cell in cells {
                match cell {
                    Cell::Number { value, .. } => finite("a table", &[*value])?,
                    Cell::Interval { interval: i, .. } => finite("a table", &[i.estimate, i.low, i.high])?,
                    Cell::Text(_) | Cell::Count(_) | Cell::Empty => {}
                }
            }
        }
        Ok(())
    }

    /// Whether a column has only numbers, and so is right-aligned.
    pub(super) fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .filter(|cell| **cell != Cell::Empty)
            .peekable();
        cells.peek().is_some() && cells.all(|cell| !matches!(cell, Cell::Text(_)))
    }
}

impl Cell {
    /// A number, shown with this number of decimals.
    pub fn number(value: f64, decimals: usize) -> Self {
        Self::Number { value, decimals }
    }

    /// An estimate and its interval, shown with this number of decimals.
    pub fn interval(interval: Interval, decimals: usize) -> Self {
        Self::Interval { interval, decimals }
    }

    /// The number to sort by, if the cell has one.
    pub(super) fn value(&self) -> Option<f64> {
        match self {
            Self::Count(count) => Some(*count as f64),
            Self::Number { value, .. } => Some(*value),
            Self::Interval { interval, .. } => Some(interval.estimate),
            Self::Text(_) | Self::Empty => None,
        }
    }

    /// The cell as text, not escaped.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Number { value, decimals } => number::fixed(*value, *decimals),
            Self::Interval { interval, decimals } => {
                number::interval(interval.estimate, interval.low, interval.high, *decimals)
            }
            Self::Empty => "–".into(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}
