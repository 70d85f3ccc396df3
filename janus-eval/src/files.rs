//! Reads whole files. Errors name the file, as those of the row readers do.

use std::path::Path;

use janus_data::Problem;
use serde::de::DeserializeOwned;

use crate::Result;

pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let io = |cause| janus_data::Error::Io { path: path.into(), doing: "read the file", cause };
    Ok(std::fs::read(path).map_err(io)?)
}

pub(crate) fn read_text(path: &Path) -> Result<String> {
    let io = |cause| janus_data::Error::Io { path: path.into(), doing: "read the file", cause };
    Ok(std::fs::read_to_string(path).map_err(io)?)
}

/// Reads a file that holds one JSON value.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bytes(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| rule(path, 1, Some(error.line() as u64), None, error.to_string()))
}

/// The error of a row that breaks a rule.
pub(crate) fn rule(
    path: &Path,
    row: u64,
    line: Option<u64>,
    field: Option<String>,
    message: String,
) -> crate::Error {
    janus_data::Error::Row { path: path.into(), row, line, field, problem: Problem::Rule(message) }.into()
}
