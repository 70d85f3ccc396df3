//! Writes files of rows, which appear complete or not at all.

#[cfg(feature = "parquet")]
mod column;
#[cfg(feature = "parquet")]
mod columnar;
mod compressed;
mod sheet;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::format::{Format, Layout};
use crate::fs::AtomicFile;
use crate::{Error, Result};
#[cfg(feature = "parquet")]
use columnar::Batches;
use compressed::Compressed;
use sheet::Sheet;

#[cfg(feature = "parquet")]
pub use column::{ArrowRecord, Column};

/// Writes rows of any type atomically as `.json` (an array with one row per line), `.jsonl` or `.csv`, each
/// optionally followed by `.gz` or `.zst`.
///
/// # Errors
/// [`Error::UnknownExtension`], [`Error::Encode`] for a row that the format cannot represent, [`Error::Io`].
pub fn write_all<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<()> {
    let mut writer = Writer::text(path)?;
    for row in rows {
        writer.add(row)?;
    }
    writer.finish()
}

/// Writes records in the format of the file extension: those of [`write_all`], `.parquet` (Snappy) and
/// `.arrow` (IPC file), each optionally followed by `.gz` or `.zst`. The schema of Parquet and Arrow files is
/// that of the record type, never inferred from the rows, and strings are `LargeUtf8`.
///
/// # Errors
/// [`Error::UnknownExtension`], [`Error::Encode`], [`Error::Io`].
///
/// ```
/// use janus_core::RewardRecord;
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("rm.parquet");
/// let input = "Be kind.\nHi?".into();
/// let row = RewardRecord { history: None, input, chosen: "Hello!".into(), rejected: "What.".into() };
/// janus_data::write_records(&path, &[row.clone()])?;
/// assert_eq!(janus_data::read_all::<RewardRecord>(&path)?, [row]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "parquet")]
pub fn write_records<T: ArrowRecord + Serialize + 'static>(path: impl AsRef<Path>, rows: &[T]) -> Result<()> {
    let path = path.as_ref();
    let format = Format::of(path)?;
    if format.layout.is_text() {
        return write_all(path, rows);
    }
    let mut batches = Batches::new(path, AtomicFile::create(path)?, format, T::columns(rows));
    for rows in rows.chunks(columnar::BATCH) {
        batches.add(rows)?;
    }
    batches.finish()?.commit()
}

/// Writes rows one at a time. The file appears when [`Writer::finish`] is called, and not at all otherwise.
/// Memory is bounded by a batch.
///
/// ```
/// use janus_core::RewardRecord;
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("rm.jsonl.zst");
/// let mut writer = janus_data::Writer::create(&path)?;
/// for n in 0..3 {
///     writer.write(RewardRecord { input: format!("{n}"), ..RewardRecord::default() })?;
/// }
/// assert!(!path.exists());
/// writer.finish()?;
/// assert_eq!(janus_data::read::<RewardRecord>(&path)?.count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writer<T> {
    path: PathBuf,
    sink: Sink<T>,
    rows: u64,
}

enum Sink<T> {
    Json {
        out: Box<Compressed>,
        array: bool,
    },
    Sheet(Box<Sheet>),
    #[cfg_attr(
        not(feature = "parquet"),
        expect(dead_code, reason = "only the feature `parquet` has columnar formats")
    )]
    Columns(Box<dyn Columns<T>>),
}

/// A columnar file that is written batch by batch.
trait Columns<T>: Send {
    fn write(&mut self, row: T) -> Result<()>;

    fn finish(self: Box<Self>) -> Result<AtomicFile>;
}

impl<T: Serialize> Writer<T> {
    /// Creates a file in one of the formats of [`write_all`].
    ///
    /// # Errors
    /// [`Error::UnknownExtension`], [`Error::Io`].
    pub fn text(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let format = Format::of_text(path)?;
        let mut out = Compressed::new(AtomicFile::create(path)?, format.codec)
            .map_err(Error::io(path, "write the file"))?;
        let sink = match format.layout {
            Layout::Csv => Sink::Sheet(Box::new(Sheet::new(out))),
            layout => {
                let array = layout == Layout::Json;
                if array {
                    out.write_all(b"[").map_err(Error::io(path, "write the file"))?;
                }
                Sink::Json { out: Box::new(out), array }
            }
        };
        Ok(Self { path: path.into(), sink, rows: 0 })
    }

    /// Creates a file in one of the formats of [`write_records`].
    ///
    /// # Errors
    /// [`Error::UnknownExtension`], [`Error::Io`].
    #[cfg(feature = "parquet")]
    pub fn create(path: impl AsRef<Path>) -> Result<Self>
    where
        T: ArrowRecord + Send + 'static,
    {
        let path = path.as_ref();
        let format = Format::of(path)?;
        if format.layout.is_text() {
            return Self::text(path);
        }
        let sink = Sink::Columns(Box::new(columnar::Records::new(path, AtomicFile::create(path)?, format)));
        Ok(Self { path: path.into(), sink, rows: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::Encode`] for a row that the format cannot represent, or, in a format with fixed columns, for
    /// a field that the first rows of the file do not have; [`Error::Io`].
    pub fn write(&mut self, row: T) -> Result<()> {
        if let Sink::Columns(columns) = &mut self.sink {
            self.rows += 1;
            return columns.write(row);
        }
        self.add(&row)
    }

    /// Number of rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the remaining rows, syncs the file and renames it to its final name.
    ///
    /// # Errors
    /// Those of [`Writer::write`].
    pub fn finish(self) -> Result<()> {
        let io = Error::io(&self.path, "write the file");
        let file = match self.sink {
            Sink::Json { mut out, array } => {
                let end: &[u8] = match (array, self.rows) {
                    (true, 0) => b"]\n",
                    (true, _) => b"\n]\n",
                    (false, _) => b"",
                };
                out.write_all(end).and_then(|()| out.finish()).map_err(io)?
            }
            Sink::Sheet(sheet) => sheet.finish(&self.path)?,
            Sink::Columns(columns) => columns.finish()?,
        };
        file.commit()
    }

    /// Adds a row to a text file.
    fn add(&mut self, row: &T) -> Result<()> {
        self.rows += 1;
        let encode = |cause| Error::Encode { path: self.path.clone(), row: self.rows, cause };
        match &mut self.sink {
            Sink::Json { out, array } => {
                let before: &[u8] = match (*array, self.rows) {
                    (true, 1) => b"\n",
                    (true, _) => b",\n",
                    (false, _) => b"",
                };
                let io = |cause| Error::Io { path: self.path.clone(), doing: "write the file", cause };
                out.write_all(before).map_err(io)?;
                serde_json::to_writer(&mut *out, row).map_err(|error| match error.io_error_kind() {
                    Some(_) => io(error.into()),
                    None => encode(error.into()),
                })?;
                if *array { Ok(()) } else { out.write_all(b"\n").map_err(io) }
            }
            Sink::Sheet(sheet) => {
                sheet.add(&self.path, serde_json::to_value(row).map_err(|error| encode(error.into()))?)
            }
            Sink::Columns(_) => Ok(()),
        }
    }
}

/// Converts the error of a failed write, which may be due to the file or to the row.
fn failed(path: &Path, row: u64, error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match error.downcast::<io::Error>() {
        Ok(cause) => Error::Io { path: path.into(), doing: "write the file", cause: *cause },
        Err(cause) => Error::Encode { path: path.into(), row, cause },
    }
}
