//! Rows of a file as a stream of results.

mod cell;
mod json;
mod jsonl;
mod parquet;
mod row;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::de::DeserializeOwned;

use crate::format::Format;
use crate::{Error, Result};

/// Opens a file of rows; the end of its name tells the format.
///
/// | ending | rows |
/// |---|---|
/// | `.json` | the objects of an array; or the values of an object, whose keys become the field `id` of rows that have none |
/// | `.jsonl` | one object a line; blank lines are passed over |
/// | `.parquet` | the rows of all row groups; a null counts as an absent field |
///
/// `.json` and `.jsonl` may be followed by `.gz`. JSON lines and Parquet are read piece by piece: memory is
/// bounded by a line or a batch, not by the file. A `.json` file is read whole.
///
/// `T` is any type that reads itself with serde: a record of `janus-core`, or
/// `serde_json::Map<String, serde_json::Value>` for rows of any layout.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, [`Error::UnknownExtension`], [`Error::Parquet`] for what is no
/// Parquet file, [`Error::Row`] for a `.json` file that is broken as a whole.
///
/// ```
/// use janus_core::SftRecord;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("train.jsonl");
/// janus_data::write_file(&path, b"{\"system\": \"Be kind.\", \"prompt\": \"Hi?\"}\n")?;
/// let error = janus_data::read::<SftRecord>(&path)?.next().unwrap().unwrap_err();
/// assert!(error.to_string().ends_with("train.jsonl, row 1 (line 1), field \"output\": missing"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Reader<T>> {
    let path = path.as_ref();
    let format = Format::of(path)?;
    let file = File::open(path).map_err(Error::io(path, "open the file"))?;
    let source = match format {
        Format::Json { gz } => Source::Json(json::rows(path, text(file, gz), gz)?),
        Format::JsonLines { gz } => Source::JsonLines(jsonl::Lines::new(text(file, gz), gz)),
        Format::Parquet => Source::Parquet(parquet::Rows::new(path, file)?),
    };
    Ok(Reader { path: path.into(), source, rows: PhantomData })
}

/// All rows of a file, or its first error. See [`read`].
///
/// # Errors
/// Those of [`read`] and of [`Reader`].
pub fn read_all<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    read(path)?.collect()
}

/// The rows of a file, made by [`read`].
///
/// A row that cannot be read is an [`Error::Row`], and the next call goes on with the row after it. Damage of the file
/// itself ([`Error::Io`], [`Error::Gzip`], [`Error::Parquet`]) ends the stream.
pub struct Reader<T> {
    path: PathBuf,
    source: Source,
    rows: PhantomData<fn() -> T>,
}

enum Source {
    Json(json::Rows),
    JsonLines(jsonl::Lines),
    Parquet(parquet::Rows),
}

impl<T: DeserializeOwned> Iterator for Reader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Json(rows) => rows.next(&self.path),
            Source::JsonLines(lines) => lines.next(&self.path),
            Source::Parquet(rows) => rows.next(&self.path),
        }
    }
}

type Text = Box<dyn BufRead + Send>;

fn text(file: File, gz: bool) -> Text {
    let file = BufReader::with_capacity(1 << 16, file);
    if gz { Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))) } else { Box::new(file) }
}

/// The error of a failed read of text.
fn broken(path: &Path, gz: bool, rows: u64) -> impl FnOnce(std::io::Error) -> Error {
    move |source| match gz {
        true => Error::Gzip { path: path.into(), rows, source },
        false => Error::Io { path: path.into(), doing: "read the file", source },
    }
}
