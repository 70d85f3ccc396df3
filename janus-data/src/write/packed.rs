//! Bytes compressed on their way into a file.

use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::format::Packing;
use crate::fs::AtomicFile;

/// A file that takes bytes as they are, or compressed. The same bytes give the same file.
pub(super) enum Packed {
    Plain(BufWriter<AtomicFile>),
    Gzip(GzEncoder<BufWriter<AtomicFile>>),
    #[cfg(feature = "parquet")]
    Zstd(zstd::Encoder<'static, BufWriter<AtomicFile>>),
}

impl Packed {
    pub(super) fn new(file: AtomicFile, packing: Packing) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(match packing {
            Packing::Plain => Packed::Plain(file),
            Packing::Gzip => Packed::Gzip(GzEncoder::new(file, Compression::default())),
            // 0 is the library's own level.
            #[cfg(feature = "parquet")]
            Packing::Zstd => Packed::Zstd(zstd::Encoder::new(file, 0)?),
        })
    }

    /// Writes the compressor's end and all that is buffered.
    pub(super) fn finish(self) -> io::Result<AtomicFile> {
        let file = match self {
            Packed::Plain(file) => file,
            Packed::Gzip(encoder) => encoder.finish()?,
            #[cfg(feature = "parquet")]
            Packed::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packed::Plain(out) => out.write(bytes),
            Packed::Gzip(out) => out.write(bytes),
            #[cfg(feature = "parquet")]
            Packed::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Packed::Plain(out) => out.flush(),
            Packed::Gzip(out) => out.flush(),
            #[cfg(feature = "parquet")]
            Packed::Zstd(out) => out.flush(),
        }
    }
}
