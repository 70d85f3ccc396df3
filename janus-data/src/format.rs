//! File formats, recognised by the extension of the file name.

use std::path::Path;

use crate::{Error, Result};

/// The layout and the compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) layout: Layout,
    pub(crate) codec: Codec,
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
    /// Arrow IPC: the file format, or the stream format that other programs write with the same extension.
    #[cfg(feature = "parquet")]
    Arrow,
}

impl Layout {
    /// Whether rows may have different columns.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Layout::Json | Layout::JsonLines | Layout::Csv)
    }
}

/// How the bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Plain,
    Gzip,
    #[cfg(feature = "parquet")]
    Zstd,
}

impl Codec {
    /// The codec's name, for errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Codec::Plain => "plain",
            Codec::Gzip => "gzip",
            #[cfg(feature = "parquet")]
            Codec::Zstd => "zstd",
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
const CODECS: &[(&str, Codec)] = &[
    (".gz", Codec::Gzip),
    #[cfg(feature = "parquet")]
    (".zst", Codec::Zstd),
];

#[cfg(feature = "parquet")]
const ALL: &[&str] =
    &[".json", ".jsonl", ".csv", ".parquet", ".arrow", "one of these followed by .gz or .zst"];
#[cfg(feature = "parquet")]
const TEXT: &[&str] = &[".json", ".jsonl", ".csv", "one of these followed by .gz or .zst"];
#[cfg(not(feature = "parquet"))]
const ALL: &[&str] = &[
    ".json",
    ".jsonl",
    ".csv",
    "one of these followed by .gz (janus-data's feature `parquet` has .parquet, .arrow and .zst)",
];
#[cfg(not(feature = "parquet"))]
const TEXT: &[&str] =
    &[".json", ".jsonl", ".csv", "one of these followed by .gz (janus-data's feature `parquet` has .zst)"];

impl Format {
    /// The format of a file.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Self::by_extension(path).ok_or_else(|| Error::UnknownExtension { path: path.into(), known: ALL })
    }

    /// The format of a file whose rows may have different columns.
    pub(crate) fn of_text(path: &Path) -> Result<Self> {
        Self::by_extension(path)
            .filter(|format| format.layout.is_text())
            .ok_or_else(|| Error::UnknownExtension { path: path.into(), known: TEXT })
    }

    fn by_extension(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let compressed =
            CODECS.iter().find_map(|&(extension, codec)| Some((name.strip_suffix(extension)?, codec)));
        let (name, codec) = compressed.unwrap_or((&name, Codec::Plain));
        let layout = LAYOUTS.iter().find(|(extension, _)| name.ends_with(extension))?.1;
        Some(Self { layout, codec })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_determines_layout_and_codec() {
        let of = |name| Format::by_extension(Path::new(name)).map(|format| (format.layout, format.codec));
        assert_eq!(of("a/B.JSONL.GZ"), Some((Layout::JsonLines, Codec::Gzip)));
        assert_eq!(of("a.csv.gz"), Some((Layout::Csv, Codec::Gzip)));
        #[cfg(feature = "parquet")]
        assert_eq!(of("a.csv.zst"), Some((Layout::Csv, Codec::Zstd)));
        #[cfg(feature = "parquet")]
        assert_eq!(of("a.arrow"), Some((Layout::Arrow, Codec::Plain)));
        for none in ["a.gz", "a.jsonl.bz2", "jsonl", "a.json.gz.gz", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    /// In a build without the feature, the error names the feature.
    #[cfg(not(feature = "parquet"))]
    #[test]
    fn an_extension_of_a_missing_feature_names_the_feature() {
        for name in ["a.parquet", "a.jsonl.zst"] {
            let error = Format::of(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains("feature `parquet`"), "{error}");
        }
    }
}
