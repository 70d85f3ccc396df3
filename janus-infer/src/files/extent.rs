//! Checks of a tensor's byte range and shape.

use std::path::Path;

use crate::{Error, Result};

/// A tensor's first byte in its file, the byte after its last, and its name.
pub(super) type Extent = (u64, u64, String);

/// Refuses tensors whose byte ranges overlap.
pub(super) fn check_overlaps(path: &Path, mut extents: Vec<Extent>) -> Result<()> {
    extents.sort();
    extents.retain(|(start, end, _)| start < end);
    match extents.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        None => Ok(()),
        Some(pair) => {
            let ((_, end, before), (start, _, name)) = (pair[0].clone(), pair[1].clone());
            Err(Error::Overlap { path: path.into(), name, start, before, end })
        }
    }
}

/// Refuses a tensor whose shape is not the one that the config implies.
pub(super) fn check_shape(path: &Path, name: &str, expected: &[usize], got: &[usize]) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape { path: path.into(), name: name.into(), expected: expected.into(), got: got.into() })
}
