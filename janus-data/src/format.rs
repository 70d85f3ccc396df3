//! File formats by the end of the file's name.

use std::path::Path;

use crate::{Error, Result};

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON value; `gz` tells whether it is compressed.
    Json { gz: bool },
    /// One JSON value a line.
    JsonLines { gz: bool },
    /// Apache Parquet.
    Parquet,
}

const ENDINGS: [(&str, Format); 5] = [
    (".json", Format::Json { gz: false }),
    (".jsonl", Format::JsonLines { gz: false }),
    (".json.gz", Format::Json { gz: true }),
    (".jsonl.gz", Format::JsonLines { gz: true }),
    (".parquet", Format::Parquet),
];

const READABLE: [&str; 5] = [".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet"];
const TEXT: [&str; 4] = [".json", ".jsonl", ".json.gz", ".jsonl.gz"];
const COLUMNS: [&str; 1] = [".parquet"];

impl Format {
    /// The format of a file to be read.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Self::by_ending(path).ok_or_else(|| Error::UnknownExtension { path: path.into(), known: &READABLE })
    }

    /// Whether the file is an array of JSON and whether compressed: `(array, gz)`.
    pub(crate) fn of_text(path: &Path) -> Result<(bool, bool)> {
        match Self::by_ending(path) {
            Some(Format::Json { gz }) => Ok((true, gz)),
            Some(Format::JsonLines { gz }) => Ok((false, gz)),
            _ => Err(Error::UnknownExtension { path: path.into(), known: &TEXT }),
        }
    }

    /// Refuses a name that would not be read as Parquet again.
    pub(crate) fn check_parquet(path: &Path) -> Result<()> {
        match Self::by_ending(path) {
            Some(Format::Parquet) => Ok(()),
            _ => Err(Error::UnknownExtension { path: path.into(), known: &COLUMNS }),
        }
    }

    fn by_ending(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|&(_, format)| format)
    }
}
