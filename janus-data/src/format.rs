//! File formats by the end of the file's name.

use std::path::Path;

use crate::{Error, Result};

/// How a file is laid out and packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) layout: Layout,
    pub(crate) packing: Packing,
}

/// How rows are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One JSON value: an array of rows, or an object of rows by id.
    Json,
    /// One JSON value a line.
    JsonLines,
    /// Comma-separated values under a header.
    Csv,
    /// Apache Parquet.
    #[cfg(feature = "parquet")]
    Parquet,
    /// Arrow IPC: the file format, or the stream format that other programs write under the same ending.
    #[cfg(feature = "parquet")]
    Arrow,
}

impl Layout {
    /// Whether rows need no fixed columns.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Layout::Json | Layout::JsonLines | Layout::Csv)
    }
}

/// How the bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    #[cfg(feature = "parquet")]
    Zstd,
}

impl Packing {
    /// The compression's name, for an error.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Packing::Plain => "plain",
            Packing::Gzip => "gzip",
            #[cfg(feature = "parquet")]
            Packing::Zstd => "zstd",
        }
    }
}

const LAYOUTS: &[(&str, Layout)] = &[
    (".json", Layout::Json),
    (".jsonl", Layout::JsonLines),
    (".ndjson", Layout::JsonLines),
    (".csv", Layout::Csv),
    #[cfg(feature = "parquet")]
    (".parquet", Layout::Parquet),
    #[cfg(feature = "parquet")]
    (".arrow", Layout::Arrow),
];
const PACKINGS: &[(&str, Packing)] = &[
    (".gz", Packing::Gzip),
    #[cfg(feature = "parquet")]
    (".zst", Packing::Zstd),
];

#[cfg(feature = "parquet")]
const ALL: &[&str] = &[".json", ".jsonl", ".csv", ".parquet", ".arrow", "one of these with .gz or .zst behind it"];
#[cfg(feature = "parquet")]
const TEXT: &[&str] = &[".json", ".jsonl", ".csv", "one of these with .gz or .zst behind it"];
#[cfg(not(feature = "parquet"))]
const ALL: &[&str] =
    &[".json", ".jsonl", ".csv", "one of these with .gz behind it (janus-data's feature `parquet` has .parquet, .arrow and .zst)"];
#[cfg(not(feature = "parquet"))]
const TEXT: &[&str] = &[".json", ".jsonl", ".csv", "one of these with .gz behind it (janus-data's feature `parquet` has .zst)"];

impl Format {
    /// The format of a file.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Self::by_ending(path).ok_or_else(|| Error::UnknownExtension { path: path.into(), known: ALL })
    }

    /// The format of a file of rows that have no fixed columns.
    pub(crate) fn of_text(path: &Path) -> Result<Self> {
        Self::by_ending(path)
            .filter(|format| format.layout.is_text())
            .ok_or_else(|| Error::UnknownExtension { path: path.into(), known: TEXT })
    }

    fn by_ending(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let packed = PACKINGS.iter().find_map(|&(ending, packing)| Some((name.strip_suffix(ending)?, packing)));
        let (name, packing) = packed.unwrap_or((&name, Packing::Plain));
        let layout = LAYOUTS.iter().find(|(ending, _)| name.ends_with(ending))?.1;
        Some(Self { layout, packing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_layout_and_packing() {
        let of = |name| Format::by_ending(Path::new(name)).map(|format| (format.layout, format.packing));
        assert_eq!(of("a/B.JSONL.GZ"), Some((Layout::JsonLines, Packing::Gzip)));
        assert_eq!(of("a.csv.gz"), Some((Layout::Csv, Packing::Gzip)));
        #[cfg(feature = "parquet")]
        assert_eq!(of("a.csv.zst"), Some((Layout::Csv, Packing::Zstd)));
        #[cfg(feature = "parquet")]
        assert_eq!(of("a.arrow"), Some((Layout::Arrow, Packing::Plain)));
        for none in ["a.gz", "a.jsonl.bz2", "jsonl", "a.json.gz.gz", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    /// A build without the feature names what it leaves out.
    #[cfg(not(feature = "parquet"))]
    #[test]
    fn an_ending_of_the_missing_feature_names_the_feature() {
        for name in ["a.parquet", "a.jsonl.zst"] {
            let error = Format::of(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains("feature `parquet`"), "{error}");
        }
    }
}
