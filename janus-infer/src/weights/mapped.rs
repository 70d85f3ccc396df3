//! Files as memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// Maps a file for reading: its pages are read when they are touched, and shared between processes.
#[expect(unsafe_code, reason = "a memory map is a view of a file that the compiler cannot watch over")]
pub(super) fn map(path: &Path) -> Result<Mmap> {
    let io = |source| Error::Io { path: path.into(), source };
    let file = File::open(path).map_err(io)?;
    // SAFETY: the map is read-only and lives no longer than the weights are being loaded. As with every memory
    // map, the file must not be changed by others meanwhile; checkpoints are written under another name
    // and renamed, which leaves a mapped file as it is.
    unsafe { Mmap::map(&file) }.map_err(io)
}
