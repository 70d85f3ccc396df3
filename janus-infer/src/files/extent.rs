//! Where a file has a tensor's bytes, and of what shape.

use std::path::Path;

use crate::{Error, Result};

/// A tensor's bytes in its file: first, the one after the last, and its name.
pub(super) type Extent = (u64, u64, String);

/// Refuses tensors that share bytes: one of them lies.
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

/// Refuses a tensor of another shape than the config says.
pub(super) fn check_shape(path: &Path, name: &str, expected: &[usize], got: &[usize]) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape { path: path.into(), name: name.into(), expected: expected.into(), got: got.into() })
}
