//! Reads Parquet and Arrow IPC, batch by batch.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::errors::ParquetError;
use arrow::array::{Array, RecordBatch, StructArray};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use serde::de::DeserializeOwned;

use super::ReadOptions;
use super::cell::Cell;
use super::compressed::{Text, broken, seekable};
use super::row::{Location, Row};
use crate::format::Codec;
use crate::{Error, Result};

/// Rows decoded at a time, which bounds the memory.
const BATCH: usize = 256;

/// A stream of rows.
pub(super) struct Rows {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, Damage>> + Send>,
    columns: BTreeMap<String, String>,
    codec: Codec,
    batch: StructArray,
    /// Next row of the batch.
    index: usize,
    /// Rows returned so far, over all batches.
    row: u64,
    ended: bool,
}

/// An error of the decoders.
enum Damage {
    Parquet(ParquetError),
    Arrow(ArrowError),
}

impl Damage {
    fn error(self, path: &Path, codec: Codec, rows: u64) -> Error {
        match self {
            Damage::Parquet(cause) => Error::Parquet { path: path.into(), rows, cause },
            // An error of the file system or of decompression, not of the content.
            Damage::Arrow(ArrowError::IoError(_, source))
                if source.kind() != io::ErrorKind::UnexpectedEof || codec != Codec::Plain =>
            {
                broken(path, codec, rows)(source)
            }
            Damage::Arrow(cause) => Error::Arrow { path: path.into(), rows, cause },
        }
    }
}

impl Rows {
    pub(super) fn parquet(path: &Path, file: File, options: &ReadOptions) -> Result<Self> {
        let damage = |error: ParquetError| Damage::Parquet(error);
        let open = || ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH).build();
        let batches =
            caught(open, decoder_panicked).map_err(|error| damage(error).error(path, Codec::Plain, 0))?;
        let mut batches = batches;
        let next = move || {
            caught(|| batches.next().transpose().map_err(ParquetError::from), decoder_panicked).transpose()
        };
        Ok(Self::new(std::iter::from_fn(next).map(move |batch| batch.map_err(damage)), Codec::Plain, options))
    }

    /// Reads the stream format. In the file format, the stream is enclosed by a magic number and a footer.
    pub(super) fn arrow(path: &Path, mut text: Text, codec: Codec, options: &ReadOptions) -> Result<Self> {
        let is_file = text.fill_buf().map_err(broken(path, codec, 0))?.starts_with(FILE_MAGIC);
        if is_file {
            skip_magic(&mut text).map_err(broken(path, codec, 0))?;
            if text.fill_buf().map_err(broken(path, codec, 0))?.first() != Some(&CONTINUATION) {
                return Self::by_footer(path, codec, options);
            }
        }
        let ended = Arc::new(AtomicBool::new(false));
        let text = Tail { text, last: Vec::new(), complete: ended.clone() };
        let open = || StreamReader::try_new(text, None);
        let panicked = || ArrowError::IpcError("the decoder panicked".into());
        let mut reader =
            Some(caught(open, panicked).map_err(|error| Damage::Arrow(error).error(path, codec, 0))?);
        let next = move || {
            let open = reader.as_mut()?;
            let batch = caught(|| open.next().transpose(), panicked);
            match batch {
                Ok(None) if is_file => {
                    // The stream is followed by the footer, which ends with the magic number.
                    let mut rest = reader.take()?;
                    let read = io::copy(rest.get_mut(), &mut io::sink());
                    match read {
                        Ok(_) if ended.load(Ordering::Relaxed) => None,
                        Ok(_) => Some(Err(ArrowError::IpcError("the end of the file is missing".into()))),
                        Err(error) => Some(Err(error.into())),
                    }
                }
                Ok(batch) => Ok(batch).transpose(),
                Err(error) => Some(Err(error)),
            }
        };
        Ok(Self::new(std::iter::from_fn(next).map(|batch| batch.map_err(Damage::Arrow)), codec, options))
    }

    /// Reads the file format by its footer. Some writers (polars) begin a file with a schema that is no
    /// message of a stream.
    fn by_footer(path: &Path, codec: Codec, options: &ReadOptions) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "open the file"))?;
        let file = BufReader::new(seekable(path, file, codec)?);
        let panicked = || ArrowError::IpcError("the decoder panicked".into());
        let mut reader = caught(|| FileReader::try_new(file, None), panicked)
            .map_err(|error| Damage::Arrow(error).error(path, codec, 0))?;
        let next = move || caught(|| reader.next().transpose(), panicked).transpose();
        Ok(Self::new(std::iter::from_fn(next).map(|batch| batch.map_err(Damage::Arrow)), codec, options))
    }

    fn new(
        batches: impl Iterator<Item = Result<RecordBatch, Damage>> + Send + 'static,
        codec: Codec,
        options: &ReadOptions,
    ) -> Self {
        let (columns, batch) = (options.columns.clone(), StructArray::new_empty_fields(0, None));
        Self { batches: Box::new(batches), columns, codec, batch, index: 0, row: 0, ended: false }
    }

    pub(super) fn next<T: DeserializeOwned>(&mut self, path: &Path) -> Option<Result<T>> {
        while !self.ended {
            if self.index < self.batch.len() {
                let cell = Cell { array: &self.batch, index: self.index };
                self.index += 1;
                self.row += 1;
                let location = Location { path, row: self.row, line: None };
                return Some(match self.columns.is_empty() {
                    true => location.decode(cell),
                    false => location
                        .decode::<Row, _>(cell)
                        .and_then(|row| location.decode_mapped(row.into(), &self.columns)),
                });
            }
            self.index = 0;
            match self.batches.next() {
                Some(Ok(batch)) => {
                    let (schema, mut seen) = (batch.schema(), HashSet::new());
                    if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
                        self.ended = true;
                        let column = twice.name().clone();
                        return Some(Err(Error::TwoColumns { path: path.into(), column }));
                    }
                    self.batch = batch.into();
                }
                None => self.ended = true,
                Some(Err(damage)) => {
                    self.ended = true;
                    return Some(Err(damage.error(path, self.codec, self.row)));
                }
            }
        }
        None
    }
}

/// The magic number with which an Arrow file, unlike a stream, starts and ends.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// The first byte of the marker before each message of a stream.
const CONTINUATION: u8 = 0xff;

/// Skips the magic number and the zeros with which writers pad it to 8 or 64 bytes; a message never starts
/// with a zero.
fn skip_magic(text: &mut Text) -> io::Result<()> {
    io::copy(&mut text.take(FILE_MAGIC.len() as u64), &mut io::sink())?;
    while text.fill_buf()?.first() == Some(&0) {
        text.consume(1);
    }
    Ok(())
}

/// Tracks whether the last bytes read are the magic number that ends a complete file.
struct Tail {
    text: Text,
    last: Vec<u8>,
    complete: Arc<AtomicBool>,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        if read > 0 {
            self.last.extend_from_slice(&buffer[read.saturating_sub(FILE_MAGIC.len())..read]);
            let over = self.last.len().saturating_sub(FILE_MAGIC.len());
            self.last.drain(..over);
            self.complete.store(self.last == FILE_MAGIC, Ordering::Relaxed);
        }
        Ok(read)
    }
}

fn decoder_panicked() -> ParquetError {
    ParquetError::General("the decoder panicked".into())
}

/// Turns a panic of a decoder into an error: the decoders panic on some damaged files ("offset + len out of
/// bounds"). A decoder that panicked is not called again.
fn caught<T, E>(decode: impl FnOnce() -> Result<T, E>, panicked: impl FnOnce() -> E) -> Result<T, E> {
    panic::catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(panicked()))
}
