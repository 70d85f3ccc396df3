//! Files that appear whole or not at all.

mod column;
mod parquet;
mod whole;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::format::Format;
use crate::{Error, Result};

pub use column::{ArrowRecord, Column};
pub use parquet::write_parquet;

/// Writes a file of bytes: into a temporary file of the same folder, which is synced and then takes the name. After
/// an error the old file, if there was one, is as it was.
///
/// # Errors
/// [`Error::Io`].
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    whole::write(path, |file| file.write_all(bytes).map_err(Error::io(path, "write the file")))
}

/// Writes rows as `.json` (an array, a row a line) or `.jsonl`, either also `.gz`, as [`write_file`] does.
///
/// # Errors
/// [`Error::UnknownExtension`], [`Error::Encode`] for a row that has no JSON form, [`Error::Io`].
pub fn write_all<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<()> {
    let path = path.as_ref();
    let (array, gz) = Format::of_text(path)?;
    whole::write(path, |file| {
        if gz {
            let mut encoder = GzEncoder::new(BufWriter::new(file), Compression::default());
            write_rows(&mut encoder, path, rows, array)?;
            let finish = encoder.finish().and_then(|mut file| file.flush());
            finish.map_err(Error::io(path, "write the file"))
        } else {
            let mut file = BufWriter::new(file);
            write_rows(&mut file, path, rows, array)?;
            file.flush().map_err(Error::io(path, "write the file"))
        }
    })
}

fn write_rows<T: Serialize>(out: &mut impl Write, path: &Path, rows: &[T], array: bool) -> Result<()> {
    let (start, between, end) = match (array, rows.is_empty()) {
        (true, true) => ("[", "", "]\n"),
        (true, false) => ("[\n", ",\n", "\n]\n"),
        (false, true) => ("", "", ""),
        (false, false) => ("", "\n", "\n"),
    };
    let io = |result: io::Result<()>| result.map_err(Error::io(path, "write the file"));
    io(out.write_all(start.as_bytes()))?;
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            io(out.write_all(between.as_bytes()))?;
        }
        serde_json::to_writer(&mut *out, row).map_err(|error| match error.io_error_kind() {
            Some(_) => Error::Io { path: path.into(), doing: "write the file", source: error.into() },
            None => Error::Encode { path: path.into(), row: index as u64 + 1, source: error.into() },
        })?;
    }
    io(out.write_all(end.as_bytes()))
}
