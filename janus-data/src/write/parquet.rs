//! Records as Parquet, in the layout of the released datasets.

use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};

use super::column::ArrowRecord;
use super::whole;
use crate::format::Format;
use crate::{Error, Result};

/// Rows turned into Arrow at a time; keeps the copy small and list offsets far below 2^31.
const BATCH: usize = 1024;
/// Rows of a row group: a reader holds a column of one at most.
const ROW_GROUP: usize = 4096;

/// Writes records as Parquet (Snappy), as [`write_file`](crate::write_file) does. The schema is the record's, never
/// guessed from the rows, and strings are `LargeUtf8`.
///
/// # Errors
/// [`Error::UnknownExtension`] for a name that does not end in `.parquet`, [`Error::Encode`], [`Error::Io`].
///
/// ```
/// use janus_core::RewardRecord;
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("rm.parquet");
/// let row = RewardRecord { input: "Be kind.\nHi?".into(), chosen: "Hello!".into(), rejected: "What.".into() };
/// janus_data::write_parquet(&path, &[row.clone()])?;
/// assert_eq!(janus_data::read_all::<RewardRecord>(&path)?, [row]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_parquet<T: ArrowRecord>(path: impl AsRef<Path>, rows: &[T]) -> Result<()> {
    let path = path.as_ref();
    Format::check_parquet(path)?;
    let columns = T::columns(rows);
    let schema = Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<Field>>()));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_max_row_group_row_count(Some(ROW_GROUP)).build();
    whole::write(path, |file| {
        let mut writer =
            ArrowWriter::try_new(BufWriter::new(file), schema.clone(), Some(properties)).map_err(|error| failed(path, 0, error))?;
        for (batch, rows) in rows.chunks(BATCH).enumerate() {
            let arrays = columns.iter().map(|column| (column.fill)(rows)).collect();
            let written = RecordBatch::try_new(schema.clone(), arrays).map_err(ParquetError::from).and_then(|batch| writer.write(&batch));
            written.map_err(|error| failed(path, batch * BATCH, error))?;
        }
        let finished = writer.into_inner().map_err(|error| failed(path, rows.len(), error))?;
        finished.into_inner().map(drop).map_err(|error| Error::io(path, "write the file")(error.into_error()))
    })
}

/// Parquet's own errors wrap those of the file.
fn failed(path: &Path, row: usize, error: ParquetError) -> Error {
    let encode = |source| Error::Encode { path: path.into(), row: row as u64 + 1, source };
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => Error::Io { path: path.into(), doing: "write the file", source: *source },
            Err(source) => encode(source),
        },
        other => encode(other.into()),
    }
}
