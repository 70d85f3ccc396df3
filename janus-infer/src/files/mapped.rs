//! Files as memory.

use std::fs::File;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

use crate::{Error, Result};

/// Maps a file for reading: its pages are read when they are touched, and shared between processes.
pub(super) fn map(path: &Path) -> Result<Mmap> {
    map_with(path, &MmapOptions::new())
}

/// Maps `len` bytes from `start`. What is mapped alone and used once does not count as memory for longer than that.
pub(super) fn map_range(path: &Path, start: u64, len: usize) -> Result<Mmap> {
    map_with(path, MmapOptions::new().offset(start).len(len))
}

#[expect(unsafe_code, reason = "a memory map is a view of a file that the compiler cannot watch over")]
fn map_with(path: &Path, options: &MmapOptions) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io(path))?;
    // SAFETY: the map is read-only. As with every memory map, the file must not be changed by others while it lives, which
    // `Weights::open` asks of its caller; checkpoints are written under another name and renamed, which leaves a mapped file as
    // it is.
    unsafe { options.map(&file) }.map_err(Error::io(path))
}
