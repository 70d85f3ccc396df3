//! Many files as one stream, and bad rows skipped on request.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::{ReadOptions, Reader};
use crate::{Error, Result};

/// The files that a pattern names, in the order of their names: `*`, `?`, `[…]` and `**` as in a shell. A name without
/// these stands for itself, whether or not there is such a file.
///
/// # Errors
/// [`Error::Pattern`] for a pattern that is broken, [`Error::NoMatch`] for one that matches nothing, [`Error::Io`] for a folder that cannot be read.
pub fn paths(pattern: &str) -> Result<Vec<PathBuf>> {
    // A file whose name holds a bracket is named by it as it stands.
    if !pattern.contains(['*', '?', '[']) || std::path::Path::new(pattern).exists() {
        return Ok(vec![pattern.into()]);
    }
    let mut found = Vec::new();
    for path in glob::glob(pattern).map_err(|cause| Error::Pattern { pattern: pattern.into(), cause })? {
        let path = path.map_err(|error| Error::Io { path: error.path().into(), doing: "read the folder", cause: error.into() })?;
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() { Err(Error::NoMatch { pattern: pattern.into() }) } else { Ok(found) }
}

/// The rows of several files, one file after the other. Each file is opened when the one before it has ended.
///
/// # Errors
/// The stream holds the errors of [`ReadOptions::read`] and of [`Reader`]; it continues with the next file after them.
pub fn read_files<T: DeserializeOwned>(paths: Vec<PathBuf>, options: ReadOptions) -> impl Iterator<Item = Result<T>> + Send {
    let mut paths = paths.into_iter();
    let mut reader: Option<Reader<T>> = None;
    std::iter::from_fn(move || {
        loop {
            if let Some(row) = reader.as_mut().and_then(Iterator::next) {
                return Some(row);
            }
            match options.read(paths.next()?) {
                Ok(opened) => reader = Some(opened),
                Err(error) => {
                    reader = None;
                    return Some(Err(error));
                }
            }
        }
    })
}

/// The rows that were skipped.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Skipped {
    /// Rows skipped.
    pub rows: u64,
    /// The errors of the first ones, at most [`Skipped::KEPT`].
    pub first: Vec<Error>,
}

impl Skipped {
    /// Errors that are kept.
    pub const KEPT: usize = 20;
}

/// Passes over rows that cannot be read and counts them in `skipped`. Errors of a file as a whole stay: what is behind
/// the damage would be lost in silence.
pub fn good_rows<T>(rows: impl Iterator<Item = Result<T>>, skipped: &mut Skipped) -> impl Iterator<Item = Result<T>> {
    rows.filter_map(move |row| match row {
        Err(error @ Error::Row { .. }) => {
            skipped.rows += 1;
            if skipped.first.len() < Skipped::KEPT {
                skipped.first.push(error);
            }
            None
        }
        row => Some(row),
    })
}
