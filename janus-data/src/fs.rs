//! Atomic files and folders, which appear complete or not at all, and locks and fingerprints.
//!
//! | what | how |
//! | --- | --- |
//! | a file of bytes | [`write_file`] |
//! | a file that is written piece by piece | [`AtomicFile`] |
//! | a file that is continued after a kill | [`open_locked`], then [`publish`] |
//! | the folder of a file | [`create_parent`] |
//! | a folder | [`AtomicFolder`], [`remove_folder`], [`recover`] |
//! | one process at a time in a folder | [`Lock`] |
//! | the content of a file or folder | [`fingerprint`] |
//!
//! A name ends up with the old content or with the new one, never with a part of either, after an error, a
//! kill and (on a file system that keeps what was synced) a power failure. What is not whole yet has a name
//! of its own in the same folder, `.NAME.PROCESS-NUMBER.tmp`. A writer makes the folder that its file is to
//! lie in.

mod atomic;
pub mod fingerprint;
mod folder;
mod lock;

pub use atomic::{AtomicFile, publish, write_file};
pub use folder::{AtomicFolder, recover, remove_folder};
pub use lock::{Lock, open_locked};

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

const TEMPORARY: &str = "tmp";

/// Makes the temporary names of one process unique.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A path next to `path` that no other writer uses: `.NAME.PROCESS-NUMBER.END`.
fn hidden(path: &Path, end: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        let no_name = io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
        return Err(Error::io(path, "write it")(no_name));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{}.{end}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(hidden))
}

/// The original of a name that [`hidden`] made; `None` for any other name.
fn hidden_name<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let (name, writer) = name.strip_prefix('.')?.strip_suffix(end)?.strip_suffix('.')?.rsplit_once('.')?;
    let (process, number) = writer.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(process) && digits(number)).then_some(name)
}

/// Creates the folder that will contain a file, and its parents, if they do not exist. Call it before long
/// work whose result is the file.
///
/// # Errors
/// [`Error::Io`].
pub fn create_parent(path: impl AsRef<Path>) -> Result<()> {
    let folder = parent(path.as_ref());
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))
}

/// The folder that contains a path.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs a folder, after which renames in it are durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Other systems give no handle with which a folder could be synced.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
