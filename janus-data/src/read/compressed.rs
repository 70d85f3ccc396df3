//! Decompresses a file while it is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::format::Codec;
use crate::{Error, Result};
use flate2::bufread::MultiGzDecoder;

/// A stream of bytes.
pub(super) type Text = Box<dyn BufRead + Send>;

const BUFFER: usize = 1 << 16;

/// Opens a file as a stream of decompressed bytes.
#[cfg_attr(
    not(feature = "parquet"),
    expect(unused_variables, reason = "only the error of zstd needs the path")
)]
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
