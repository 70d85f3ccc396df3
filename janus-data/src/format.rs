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
    Parquet,
    /// Arrow IPC: the file format, or the stream format that other programs write under the same ending.
    Arrow,
}

/// How the bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// The compression's name, for an error.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Packing::Plain => "plain",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }
}

const LAYOUTS: [(&str, Layout); 6] = [
    (".json", Layout::Json),
    (".jsonl", Layout::JsonLines),
    (".ndjson", Layout::JsonLines),
    (".csv", Layout::Csv),
    (".parquet", Layout::Parquet),
    (".arrow", Layout::Arrow),
];
const PACKINGS: [(&str, Packing); 2] = [(".gz", Packing::Gzip), (".zst", Packing::Zstd)];

const ALL: [&str; 6] = [".json", ".jsonl", ".csv", ".parquet", ".arrow", "one of these with .gz or .zst behind it"];
const TEXT: [&str; 4] = [".json", ".jsonl", ".csv", "one of these with .gz or .zst behind it"];

impl Format {
    /// The format of a file.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Self::by_ending(path).ok_or_else(|| Error::UnknownExtension { path: path.into(), known: &ALL })
    }

    /// The format of a file of rows that have no fixed columns.
    pub(crate) fn of_text(path: &Path) -> Result<Self> {
        Self::by_ending(path)
            .filter(|format| !matches!(format.layout, Layout::Parquet | Layout::Arrow))
            .ok_or_else(|| Error::UnknownExtension { path: path.into(), known: &TEXT })
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
        assert_eq!(of("a.csv.zst"), Some((Layout::Csv, Packing::Zstd)));
        assert_eq!(of("a.arrow"), Some((Layout::Arrow, Packing::Plain)));
        for none in ["a.gz", "a.jsonl.bz2", "jsonl", "a.json.gz.gz", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
