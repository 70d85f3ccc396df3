//! Parquet, batch by batch.

use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::errors::ParquetError;
use arrow::array::{Array, StructArray};
use serde::de::DeserializeOwned;

use super::cell::Cell;
use super::row::Place;
use crate::{Error, Result};

/// Rows decoded at a time: what memory is bounded by.
const BATCH: usize = 256;

/// A stream of rows.
pub(super) struct Rows {
    batches: ParquetRecordBatchReader,
    batch: StructArray,
    /// Next row of the batch.
    index: usize,
    /// Rows given out, of all batches.
    row: u64,
    ended: bool,
}

impl Rows {
    pub(super) fn new(path: &Path, file: File) -> Result<Self> {
        let open = || ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH).build();
        let batches = caught(open).map_err(damaged(path, 0))?;
        Ok(Self { batches, batch: StructArray::new_empty_fields(0, None), index: 0, row: 0, ended: false })
    }

    pub(super) fn next<T: DeserializeOwned>(&mut self, path: &Path) -> Option<Result<T>> {
        while !self.ended {
            if self.index < self.batch.len() {
                let cell = Cell { array: &self.batch, index: self.index };
                self.index += 1;
                self.row += 1;
                return Some(Place { path, row: self.row, line: None }.decode(cell));
            }
            self.index = 0;
            match caught(|| self.batches.next().transpose().map_err(ParquetError::from)) {
                Ok(Some(batch)) => self.batch = batch.into(),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(damaged(path, self.row)(error)));
                }
            }
        }
        None
    }
}

/// The decoder panics on some damaged files ("offset + len out of bounds"); to a reader that is one more error. A decoder
/// that panicked is not called again.
fn caught<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    panic::catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(ParquetError::General("the decoder panicked".into())))
}

fn damaged(path: &Path, rows: u64) -> impl FnOnce(ParquetError) -> Error {
    move |source| Error::Parquet { path: path.into(), rows, source }
}
