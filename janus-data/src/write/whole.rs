//! A file under a temporary name until it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Calls `fill` with a new file of the same folder, syncs it and gives it the name `path`. If anything fails the
/// temporary file is removed and what stood at `path` stays.
pub(super) fn write(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let io = |doing| Error::io(path, doing);
    let Some(name) = path.file_name() else {
        return Err(io("write the file")(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")));
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));

    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let temporary = Temporary(folder.join(hidden));

    let mut file = File::create_new(&temporary.0).map_err(io("create a file in the folder"))?;
    fill(&mut file)?;
    file.sync_all().map_err(io("sync the file"))?;
    drop(file);
    fs::rename(&temporary.0, path).map_err(io("rename the file into place"))?;
    sync_folder(folder).map_err(io("sync the folder"))
}

/// Tells apart the files that one process writes at the same time.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Removed when dropped; after the rename there is nothing left to remove.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // A failure to clean up must not hide the error that led here.
        let _ = fs::remove_file(&self.0);
    }
}

/// The rename itself is safe on disk once the folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
