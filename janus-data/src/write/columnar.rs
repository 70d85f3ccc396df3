//! Writes records as Parquet or Arrow IPC, in the layout of the released datasets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;

use super::column::{ArrowRecord, Column};
use super::compressed::Compressed;
use super::{Columns, failed};
use crate::format::{Format, Layout};
use crate::fs::AtomicFile;
use crate::{Error, Result};

/// Rows converted to Arrow at a time. It keeps the copy small and list offsets far below 2^31.
pub(super) const BATCH: usize = 1024;
/// Rows of a row group: a reader holds at most a column of one group.
const ROW_GROUP: usize = 4096;

/// Collects records into batches. The columns of the file are those of the first batch.
pub(super) struct Records<T> {
    batches: Batches<T>,
    has_columns: bool,
    held: Vec<T>,
    rows: u64,
}

impl<T: ArrowRecord> Records<T> {
    pub(super) fn new(path: &Path, file: AtomicFile, format: Format) -> Self {
        Self {
            batches: Batches::new(path, file, format, Vec::new()),
            has_columns: false,
            held: Vec::new(),
            rows: 0,
        }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.has_columns {
            self.batches.set_columns(T::columns(&self.held));
            self.has_columns = true;
        }
        if !self.held.is_empty() {
            self.batches.add_checked(&self.held, self.rows)?;
            self.held.clear();
        }
        Ok(())
    }
}

impl<T: ArrowRecord + Send> Columns<T> for Records<T> {
    fn write(&mut self, row: T) -> Result<()> {
        self.rows += 1;
        self.held.push(row);
        if self.held.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<AtomicFile> {
        self.flush()?;
        self.batches.finish()
    }
}

/// A file that is written in batches. It is opened with the first batch, so that the constructor cannot fail.
pub(super) struct Batches<T> {
    path: PathBuf,
    columns: Vec<Column<T>>,
    schema: Arc<Schema>,
    /// The columns that rows need, which the file may not have.
    needed: fn(&[T]) -> Vec<Column<T>>,
    format: Format,
    out: Out,
    rows: u64,
}

enum Out {
    Unopened(Option<AtomicFile>),
    Parquet(Box<ArrowWriter<Compressed>>),
    Arrow(Box<FileWriter<Compressed>>),
}

impl<T: ArrowRecord> Batches<T> {
    pub(super) fn new(path: &Path, file: AtomicFile, format: Format, columns: Vec<Column<T>>) -> Self {
        let (path, schema, out) = (path.into(), Arc::new(Schema::empty()), Out::Unopened(Some(file)));
        let mut batches =
            Self { path, columns: Vec::new(), schema, needed: T::columns, format, out, rows: 0 };
        batches.set_columns(columns);
        batches
    }
}

impl<T> Batches<T> {
    /// Sets the columns, before any row is added.
    fn set_columns(&mut self, columns: Vec<Column<T>>) {
        self.schema =
            Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<Field>>()));
        self.columns = columns;
    }

    /// Adds rows that may need columns that the file does not have; `end` is the number of the last of these
    /// rows.
    fn add_checked(&mut self, rows: &[T], end: u64) -> Result<()> {
        for column in (self.needed)(rows) {
            if !self.columns.iter().any(|known| known.field.name() == column.field.name()) {
                let problem = format!(
                    "a row of this batch has the field \"{}\", which the first rows of the file do not have",
                    column.field.name()
                );
                return Err(Error::Encode {
                    path: self.path.clone(),
                    row: end + 1 - rows.len() as u64,
                    cause: problem.into(),
                });
            }
        }
        self.add(rows)
    }

    /// Adds rows.
    pub(super) fn add(&mut self, rows: &[T]) -> Result<()> {
        let first = self.rows + 1;
        let arrays = self.columns.iter().map(|column| (column.fill)(rows)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays)
            .map_err(|error| self.failed(first, error.into()))?;
        let written = match self.opened()? {
            Out::Parquet(writer) => writer.write(&batch),
            Out::Arrow(writer) => writer.write(&batch).map_err(ParquetError::from),
            Out::Unopened(_) => Ok(()),
        };
        written.map_err(|error| self.failed(first, error))?;
        self.rows += rows.len() as u64;
        Ok(())
    }

    /// Writes the footer.
    pub(super) fn finish(mut self) -> Result<AtomicFile> {
        self.opened()?;
        let (path, row) = (self.path, self.rows);
        let compressed = match self.out {
            Out::Parquet(writer) => writer.into_inner(),
            Out::Arrow(mut writer) => {
                writer.finish().and_then(|()| writer.into_inner()).map_err(ParquetError::from)
            }
            Out::Unopened(_) => Err(ParquetError::General("the file was not opened".into())),
        };
        let compressed = compressed.map_err(|error| failed(&path, row, unwrapped(error)))?;
        compressed.finish().map_err(Error::io(&path, "write the file"))
    }

    fn opened(&mut self) -> Result<&mut Out> {
        if let Out::Unopened(file) = &mut self.out
            && let Some(file) = file.take()
        {
            let compressed =
                Compressed::new(file, self.format.codec).map_err(Error::io(&self.path, "write the file"))?;
            let opened = match self.format.layout {
                Layout::Arrow => FileWriter::try_new(compressed, &self.schema)
                    .map(|writer| Out::Arrow(Box::new(writer)))
                    .map_err(ParquetError::from),
                _ => {
                    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
                    let properties = properties.set_max_row_group_row_count(Some(ROW_GROUP)).build();
                    ArrowWriter::try_new(compressed, self.schema.clone(), Some(properties))
                        .map(|writer| Out::Parquet(Box::new(writer)))
                }
            };
            self.out = opened.map_err(|error| self.failed(1, error))?;
        }
        Ok(&mut self.out)
    }

    fn failed(&self, row: u64, error: ParquetError) -> Error {
        failed(&self.path, row, unwrapped(error))
    }
}

/// Unwraps the error of the file from the errors of the libraries.
fn unwrapped(error: ParquetError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        ParquetError::External(source) => match source.downcast::<ArrowError>() {
            Ok(arrow) => match *arrow {
                ArrowError::IoError(_, source) => source.into(),
                other => other.into(),
            },
            Err(source) => source,
        },
        other => other.into(),
    }
}
