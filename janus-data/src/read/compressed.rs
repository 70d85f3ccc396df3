//! Decompresses a file while it is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde_json::{Map, Value};

use super::jsonl::BYTE_ORDER_MARK;
use crate::format::Codec;
use crate::{Error, Result};

/// A stream of bytes.
pub(super) type Text = Box<dyn BufRead + Send>;

const BUFFER: usize = 1 << 16;

/// Opens a file as a stream of decompressed bytes.
#[cfg_attr(not(feature = "parquet"), expect(unused_variables, reason = "only the error of zstd needs the path"))]
pub(super) fn text(path: &Path, file: File, codec: Codec) -> Result<Text> {
    let file = BufReader::with_capacity(BUFFER, file);
    Ok(match codec {
        Codec::Plain => Box::new(file),
        Codec::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))),
        #[cfg(feature = "parquet")]
        Codec::Zstd => {
            let decoder = zstd::Decoder::with_buffer(file).map_err(broken(path, codec, 0))?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        }
    })
}

/// Whether the stream of a `.json` file is really JSON Lines. It is if its first line is a complete
/// object and either another value follows, or some value of that object is not itself an object, so
/// that it cannot be a map from id to row. Also returns the stream, rewound to its start.
pub(super) fn has_lines(mut text: Text, limit: usize) -> io::Result<(bool, Text)> {
    let buffer = text.fill_buf()?;
    if buffer.strip_prefix(BYTE_ORDER_MARK).unwrap_or(buffer).trim_ascii_start().first() != Some(&b'{') {
        return Ok((false, text));
    }
    let mut start = Vec::new();
    while start.len() <= limit && start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&start).trim_ascii().is_empty() {
        let room = (limit - start.len()) as u64 + 1;
        if (&mut text).take(room).read_until(b'\n', &mut start)? == 0 {
            break;
        }
    }
    let first = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&start);
    let first: Option<Map<String, Value>> = if start.len() <= limit { serde_json::from_slice(first).ok() } else { None };
    let lines = match first {
        None => false,
        Some(row) => follows(&mut text, &mut start)? || !row.values().all(Value::is_object),
    };
    Ok((lines, Box::new(io::Cursor::new(start).chain(text))))
}

/// Whether anything but white space follows. The white space goes to `start`.
fn follows(text: &mut Text, start: &mut Vec<u8>) -> io::Result<bool> {
    while let Some(&byte) = text.fill_buf()?.first() {
        if !byte.is_ascii_whitespace() {
            return Ok(true);
        }
        start.push(byte);
        text.consume(1);
    }
    Ok(false)
}

/// A file that can be read at any position: the file itself, or a decompressed temporary copy.
#[cfg(feature = "parquet")]
pub(super) fn seekable(path: &Path, file: File, codec: Codec) -> Result<File> {
    if codec == Codec::Plain {
        return Ok(file);
    }
    let mut bytes = text(path, file, codec)?;
    let mut copy = tempfile::tempfile().map_err(Error::io(path, "create a temporary file to decompress"))?;
    io::copy(&mut bytes, &mut copy).map_err(broken(path, codec, 0))?;
    io::Seek::rewind(&mut copy).map_err(Error::io(path, "read the decompressed copy of the file"))?;
    Ok(copy)
}

/// The error of a failed read.
pub(super) fn broken(path: &Path, codec: Codec, rows: u64) -> impl FnOnce(io::Error) -> Error {
    move |cause| match codec {
        Codec::Plain => Error::Io { path: path.into(), doing: "read the file", cause },
        _ => Error::Compressed { path: path.into(), codec: codec.name(), rows, cause },
    }
}
