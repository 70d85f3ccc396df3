//! A matrix in the encoding of its file.

use std::ops::Deref;

use memmap2::Mmap;

use super::Encoding;

/// The bytes of a matrix.
pub(crate) enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    Mapped(Mmap),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// A matrix in the encoding of its file, `[rows, depth]`.
pub(crate) struct Matrix<'a> {
    pub encoding: Encoding,
    pub rows: usize,
    pub depth: usize,
    pub bytes: Bytes<'a>,
    /// For each row of the matrix its index in `bytes`; `None` if the order is the same.
    pub order: Option<Vec<usize>>,
}

impl Matrix<'_> {
    /// A matrix of `f32` values, which are copied.
    pub(crate) fn in_f32(values: &[f32], rows: usize, depth: usize) -> Matrix<'static> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Matrix { encoding: Encoding::F32, rows, depth, bytes: Bytes::Owned(bytes), order: None }
    }

    /// The bytes of a row.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        let row = self.order.as_ref().map_or(row, |order| order[row]);
        let len = self.encoding.bytes(self.depth);
        &self.bytes[row * len..][..len]
    }
}
