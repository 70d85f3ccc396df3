//! The error of a row's field.

use std::path::Path;

use crate::{Error, Problem};

/// A row that does not have the layout of its source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field \"{field}\": {problem}")]
#[non_exhaustive]
pub struct RowError {
    /// The field, with its path through lists and objects.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl RowError {
    /// A missing field.
    pub fn missing(field: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Missing }
    }

    /// A field of the wrong type.
    pub fn mismatch(field: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: Problem::Mismatch { expected: expected.into(), got: got.into() },
        }
    }

    /// A field that breaks a rule, which `problem` states.
    pub fn rule(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Rule(problem.into()) }
    }

    /// The same error for a field within the object `outer`.
    pub fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), problem: self.problem }
    }

    /// Converts to an error of a row of a file, counted from 1.
    pub fn at(self, path: &Path, row: u64) -> Error {
        Error::Row { path: path.into(), row, line: None, field: Some(self.field), problem: self.problem }
    }
}
