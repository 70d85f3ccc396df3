//! A file under a temporary name until it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// A file that does not have its name yet. If it is dropped before [`Pending::commit`] it is removed, and what stood at
/// its name stays.
pub(super) struct Pending {
    path: PathBuf,
    folder: PathBuf,
    temporary: Temporary,
}

impl Pending {
    /// A new file of the folder that `path` lies in.
    pub(super) fn create(path: &Path) -> Result<(Self, File)> {
        let Some(name) = path.file_name() else {
            return Err(Error::io(path, "write the file")(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));

        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let temporary = folder.join(hidden);
        let file = File::create_new(&temporary).map_err(Error::io(path, "create a file in the folder"))?;
        Ok((Self { path: path.into(), folder: folder.into(), temporary: Temporary(temporary) }, file))
    }

    /// Syncs the file and gives it its name.
    pub(super) fn commit(self, file: File) -> Result<()> {
        let io = |doing| Error::io(&self.path, doing);
        file.sync_all().map_err(io("sync the file"))?;
        drop(file);
        fs::rename(&self.temporary.0, &self.path).map_err(io("rename the file into place"))?;
        sync_folder(&self.folder).map_err(io("sync the folder"))
    }
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
