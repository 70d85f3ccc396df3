//! Compresses a file while it is written.

use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::format::Codec;
use crate::fs::AtomicFile;

/// A file that is written with a codec. The same bytes give the same file.
pub(super) enum Compressed {
    Plain(BufWriter<AtomicFile>),
    Gzip(GzEncoder<BufWriter<AtomicFile>>),
    #[cfg(feature = "parquet")]
    Zstd(zstd::Encoder<'static, BufWriter<AtomicFile>>),
}

impl Compressed {
    pub(super) fn new(file: AtomicFile, codec: Codec) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(match codec {
            Codec::Plain => Compressed::Plain(file),
            Codec::Gzip => Compressed::Gzip(GzEncoder::new(file, Compression::default())),
            // Level 0 is the default of zstd.
            #[cfg(feature = "parquet")]
            Codec::Zstd => Compressed::Zstd(zstd::Encoder::new(file, 0)?),
        })
    }

    /// Writes the end of the compressed data and the buffer.
    pub(super) fn finish(self) -> io::Result<AtomicFile> {
        let file = match self {
            Compressed::Plain(file) => file,
            Compressed::Gzip(encoder) => encoder.finish()?,
            #[cfg(feature = "parquet")]
            Compressed::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Compressed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressed::Plain(out) => out.write(bytes),
            Compressed::Gzip(out) => out.write(bytes),
            #[cfg(feature = "parquet")]
            Compressed::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressed::Plain(out) => out.flush(),
            Compressed::Gzip(out) => out.flush(),
            #[cfg(feature = "parquet")]
            Compressed::Zstd(out) => out.flush(),
        }
    }
}
