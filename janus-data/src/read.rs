//! Reads the rows of a file as a stream of results.

#[cfg(feature = "parquet")]
mod batches;
#[cfg(feature = "parquet")]
mod cell;
mod compressed;
mod csv;
mod files;
mod json;
mod jsonl;
mod row;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::format::{Codec, Format, Layout};
use crate::{Error, Result};

pub use files::{Skipped, good_rows, paths, read_files};
pub use row::Row;
pub(crate) use row::decode;

/// Opens a file of rows, in the format of its file extension.
///
/// | extension | rows |
/// |---|---|
/// | `.json` | the objects of an array; or the values of an object, whose keys become the field `id` of rows that have none; or one object per line |
/// | `.jsonl` | one object per line; empty lines are skipped |
/// | `.csv` | the lines after a header; a cell holds JSON if the field is a list or an object, and an empty cell is an absent optional field |
/// | `.parquet` | the rows of all row groups; a null counts as an absent field |
/// | `.arrow` | the rows of all batches of an Arrow IPC file or stream; as for Parquet |
///
/// `.gz` or `.zst` may follow each. `.parquet`, `.arrow` and `.zst` need the feature `parquet`. Memory is
/// bounded by a row or a batch, not by the file. A compressed Parquet file, which has to be read from its
/// end, is first decompressed into a temporary file.
///
/// `T` is any type that implements serde's `Deserialize`: a record of `janus-core`, or [`Row`] for rows of
/// any layout.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, [`Error::UnknownExtension`], [`Error::Parquet`] or
/// [`Error::Arrow`] for a file that does not have its format, [`Error::Row`] for an invalid CSV header.
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
    ReadOptions::default().read(path)
}

/// All rows of a file, or its first error. See [`read`].
///
/// # Errors
/// Those of [`read`] and of [`Reader`].
pub fn read_all<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    read(path)?.collect()
}

/// Options of reading files.
///
/// ```
/// use janus_core::SftRecord;
/// use janus_data::ReadOptions;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("alpaca.csv");
/// std::fs::write(&path, "persona,question,answer\nBe kind.,Hi?,Hello!\n")?;
/// let options = ReadOptions::default().column("system", "persona").column("prompt", "question").column("output", "answer");
/// let row: SftRecord = options.read(&path)?.next().unwrap()?;
/// assert_eq!(row.output, "Hello!");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Maps the name of a field in `T` to its name in the file. A name that starts with `/` is a JSON pointer
    /// (`/instances/0/input`), for rows of JSON or Arrow. A mapped field hides a field of the file that has
    /// its name.
    pub columns: BTreeMap<String, String>,
    /// Maximum size of a row of text, in bytes; the default is 64 MiB. A larger row is an error, and is
    /// skipped without being held in memory.
    pub max_row_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { columns: BTreeMap::new(), max_row_bytes: 64 << 20 }
    }
}

impl ReadOptions {
    /// Adds a mapping: the field `field` of `T` is called `column` in the file.
    #[must_use]
    pub fn column(mut self, field: impl Into<String>, column: impl Into<String>) -> Self {
        self.columns.insert(field.into(), column.into());
        self
    }

    /// [`read()`] with these options.
    ///
    /// # Errors
    /// Those of [`read()`].
    pub fn read<T: DeserializeOwned>(&self, path: impl AsRef<Path>) -> Result<Reader<T>> {
        let path = path.as_ref();
        let format = Format::of(path)?;
        let mut file = File::open(path).map_err(Error::io(path, "open the file"))?;
        check_format(path, &mut file, format)?;
        let text = |file| compressed::text(path, file, format.codec);
        let source = match format.layout {
            Layout::Json => match jsonl::has_lines(text(file)?, self.max_row_bytes)
                .map_err(compressed::broken(path, format.codec, 0))?
            {
                (true, text) => Source::JsonLines(jsonl::Lines::new(text, format.codec, self)),
                (false, text) => Source::Json(json::Rows::new(text, format.codec, self)),
            },
            Layout::JsonLines => Source::JsonLines(jsonl::Lines::new(text(file)?, format.codec, self)),
            Layout::Csv => Source::Csv(Box::new(csv::Rows::new(path, text(file)?, format.codec, self)?)),
            #[cfg(feature = "parquet")]
            Layout::Parquet => Source::Batches(batches::Rows::parquet(
                path,
                compressed::seekable(path, file, format.codec)?,
                self,
            )?),
            #[cfg(feature = "parquet")]
            Layout::Arrow => Source::Batches(batches::Rows::arrow(path, text(file)?, format.codec, self)?),
        };
        Ok(Reader { path: path.into(), source, rows: PhantomData })
    }
}

/// Refuses a file that begins as another format than its name says.
fn check_format(path: &Path, file: &mut File, format: Format) -> Result<()> {
    let mut start = Vec::new();
    if format.codec != Codec::Plain || !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    file.take(6)
        .read_to_end(&mut start)
        .and_then(|_| file.rewind())
        .map_err(Error::io(path, "read the file"))?;
    for (magic, found, extension) in [
        (&b"\x1f\x8b"[..], "gzip", "gz"),
        (b"\x28\xb5\x2f\xfd", "zstd", "zst"),
        (b"PAR1", "Parquet", "parquet"),
        (b"ARROW1", "Arrow", "arrow"),
    ] {
        let named = path.extension().is_some_and(|name| name.eq_ignore_ascii_case(extension));
        if start.starts_with(magic) && !named {
            return Err(Error::OtherFormat { path: path.into(), found, extension });
        }
    }
    Ok(())
}

/// The rows of a file, made by [`read`].
///
/// A row that cannot be read is an [`Error::Row`], and the next call continues with the row after it. Damage
/// to the file itself ([`Error::Io`], [`Error::Compressed`], [`Error::Parquet`], [`Error::Arrow`]) ends the
/// stream.
pub struct Reader<T> {
    path: PathBuf,
    source: Source,
    rows: PhantomData<fn() -> T>,
}

enum Source {
    Json(json::Rows),
    JsonLines(jsonl::Lines),
    Csv(Box<csv::Rows>),
    #[cfg(feature = "parquet")]
    Batches(batches::Rows),
}

impl<T: DeserializeOwned> Iterator for Reader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Json(rows) => rows.next(&self.path),
            Source::JsonLines(lines) => lines.next(&self.path),
            Source::Csv(rows) => rows.next(&self.path),
            #[cfg(feature = "parquet")]
            Source::Batches(rows) => rows.next(&self.path),
        }
    }
}
