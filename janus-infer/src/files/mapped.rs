//! Memory maps of files.

use std::fs::File;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

use crate::{Error, Result};

/// Maps a file for reading. Its pages are loaded on first access and shared between processes.
pub(super) fn map(path: &Path) -> Result<Mmap> {
    map_with(path, &MmapOptions::new())
}

/// Maps `len` bytes from `start`. A map of a single tensor that is dropped after use no longer counts as
/// memory of the process.
pub(super) fn map_range(path: &Path, start: u64, len: usize) -> Result<Mmap> {
    map_with(path, MmapOptions::new().offset(start).len(len))
}

#[expect(unsafe_code, reason = "the compiler cannot know that the mapped file does not change")]
fn map_with(path: &Path, options: &MmapOptions) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io(path))?;
    // SAFETY: the map is read-only. As with every memory map, nobody may change the file while the map
    // lives, which `Weights::open` requires of its callers. Checkpoints are written under another name
    // and renamed, which does not change a mapped file.
    unsafe { options.map(&file) }.map_err(Error::io(path))
}
