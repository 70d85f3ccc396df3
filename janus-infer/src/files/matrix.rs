//! A matrix as its file has it.

use std::ops::Deref;

use memmap2::Mmap;

use super::Encoding;

/// Where a matrix's bytes are.
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

/// A matrix as a file has it, `[rows, depth]`.
pub(crate) struct Matrix<'a> {
    pub encoding: Encoding,
    pub rows: usize,
    pub depth: usize,
    pub bytes: Bytes<'a>,
    /// The row of `bytes` that is row `i`, if they are not in order.
    pub order: Option<Vec<usize>>,
}

impl Matrix<'_> {
    /// A matrix of numbers in memory.
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
