//! Reads several files as one stream, and skips bad rows on request.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::{ReadOptions, Reader};
use crate::{Error, Result};

/// The files that match a pattern with `*`, `?`, `[…]` and `**` as in a shell, sorted by name. A path without
/// these characters is returned as it is, even if there is no such file.
///
/// # Errors
/// [`Error::Pattern`] for an invalid pattern, [`Error::NoMatch`] for one that matches nothing, [`Error::Io`]
/// for a folder that cannot be read.
pub fn paths(pattern: &str) -> Result<Vec<PathBuf>> {
    // An existing file whose name contains these characters is meant literally.
    if !pattern.contains(['*', '?', '[']) || std::path::Path::new(pattern).exists() {
        return Ok(vec![pattern.into()]);
    }
    let mut found = Vec::new();
    for path in glob::glob(pattern).map_err(|cause| Error::Pattern { pattern: pattern.into(), cause })? {
        let path = path.map_err(|error| Error::Io {
            path: error.path().into(),
            doing: "read the folder",
            cause: error.into(),
        })?;
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() { Err(Error::NoMatch { pattern: pattern.into() }) } else { Ok(found) }
}

/// The rows of several files, one file after the other. Each file is opened after the end of the one before
/// it.
///
/// # Errors
/// The stream contains the errors of [`ReadOptions::read`] and of [`Reader`]; it continues with the next file
/// after them.
pub fn read_files<T: DeserializeOwned>(
    paths: Vec<PathBuf>,
    options: ReadOptions,
) -> impl Iterator<Item = Result<T>> + Send {
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
    /// Number of skipped rows.
    pub rows: u64,
    /// The errors of the first ones, at most [`Skipped::KEPT`].
    pub first: Vec<Error>,
}

impl Skipped {
    /// Number of errors that are kept.
    pub const KEPT: usize = 20;
}

/// Skips rows that cannot be read and counts them in `skipped`. Errors of a whole file are not skipped,
/// because the rows after the damage would be lost silently.
pub fn good_rows<T>(
    rows: impl Iterator<Item = Result<T>>,
    skipped: &mut Skipped,
) -> impl Iterator<Item = Result<T>> {
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
