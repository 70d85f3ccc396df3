//! Folders that appear complete or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{TEMPORARY, hidden, hidden_name, parent, sync_folder};
use crate::{Error, Result};

/// The suffix of the temporary name of a folder that is being replaced, on file systems that cannot exchange
/// two folders.
const OLD: &str = "old";

/// A folder that is filled under a temporary name, at [`AtomicFolder::path`]. [`AtomicFolder::commit`]
/// renames it to its final name. If it is dropped before that, it is removed, and an existing folder of that
/// name stays.
///
/// ```
/// use janus_data::fs::AtomicFolder;
/// # let root = tempfile::tempdir()?;
/// let model = root.path().join("model");
/// let folder = AtomicFolder::create(&model)?;
/// std::fs::write(folder.path().join("config.json"), "{}")?;
/// assert!(!model.exists());
/// folder.commit()?;
/// assert!(model.join("config.json").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFolder {
    temporary: Temporary,
    path: PathBuf,
}

impl AtomicFolder {
    /// Creates an empty folder next to `path`, and its parent folders if necessary.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let temporary = hidden(path, TEMPORARY)?;
        fs::create_dir_all(&temporary).map_err(Error::io(path, "create the folder"))?;
        Ok(Self { temporary: Temporary(temporary), path: path.into() })
    }

    /// The temporary path, where the folder is until it is committed.
    pub fn path(&self) -> &Path {
        &self.temporary.0
    }

    /// Syncs the contents of the folder, renames it to its final name, and removes the folder that had this
    /// name before.
    ///
    /// Linux and macOS exchange the two folders atomically: at each moment one of them has the name.
    /// Elsewhere, and on file systems without that operation, the old one is renamed first; after a kill
    /// between the two renames, [`recover`] restores it.
    ///
    /// # Errors
    /// [`Error::Io`]; the old folder then keeps its name.
    pub fn commit(self) -> Result<()> {
        let Self { temporary: Temporary(new), path } = &self;
        let io = |doing| Error::io(path, doing);
        sync_tree(new).map_err(io("sync the folder"))?;
        if !path.exists() {
            fs::rename(new, path).map_err(io("rename the folder into place"))?;
        } else if exchange(new, path).is_err() {
            let old = hidden(path, OLD)?;
            fs::rename(path, &old).map_err(io("rename the old folder"))?;
            if let Err(error) = fs::rename(new, path) {
                let _ = fs::rename(&old, path);
                return Err(io("rename the folder into place")(error));
            }
            sync_folder(parent(path)).map_err(io("sync the folder above"))?;
            return remove(&old);
        }
        sync_folder(parent(path)).map_err(io("sync the folder above"))
        // Dropping `self` removes what is now at the temporary path: the old folder, or nothing.
    }
}

/// A path that is removed on drop.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // A failure to clean up must not hide the error that led here; `recover` tries again.
        let _ = remove(&self.0);
    }
}

/// Removes a folder if it exists. Its path has the complete folder until it has nothing.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_folder(path: &Path) -> Result<()> {
    let aside = hidden(path, TEMPORARY)?;
    match fs::rename(path, &aside) {
        Ok(()) => remove(&aside),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path, "rename the folder")(error)),
    }
}

/// Removes what a kill during writing or removing left at the top level of a folder. A folder that was being
/// replaced is restored if the kill came before the new one had its name. Nothing else may write in the
/// folder meanwhile: hold its
/// [`Lock`](super::Lock).
///
/// # Errors
/// [`Error::Io`].
pub fn recover(folder: &Path) -> Result<()> {
    let io = || Error::io(folder, "read the folder");
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io())?,
    };
    for entry in entries {
        let path = entry.map_err(io())?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if hidden_name(name, TEMPORARY).is_some() {
            remove(&path)?;
        } else if let Some(whole) = hidden_name(name, OLD).map(|name| folder.join(name)) {
            match whole.exists() {
                true => remove(&path)?,
                false => fs::rename(&path, &whole).map_err(Error::io(&whole, "rename the folder back"))?,
            }
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(Error::io(path, "remove it"))?;
    let removed = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(Error::io(path, "remove it"))
}

/// Exchanges the names of two folders atomically.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn exchange(_one: &Path, _other: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Syncs a folder and every file and folder below it.
#[cfg(unix)]
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

/// On other systems a file that is opened for reading cannot be synced; its writer has to sync it.
#[cfg(not(unix))]
fn sync_tree(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &Path, text: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("file"), text).unwrap();
    }

    /// Names and contents of the folders in `dir`.
    fn folders(dir: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read_to_string(entry.path().join("file")).unwrap(),
                )
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_folder_is_replaced_atomically_and_a_kill_in_between_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let write = |text: &str| {
            let new = AtomicFolder::create(at("model")).unwrap();
            fs::write(new.path().join("file"), text).unwrap();
            new.commit().unwrap();
        };
        write("one");
        write("two");
        let dropped = AtomicFolder::create(at("model")).unwrap();
        fs::write(dropped.path().join("file"), "half").unwrap();
        drop(dropped);
        assert_eq!(folders(dir.path()), [("model".into(), "two".into())]);

        // A kill between the two renames: the old folder is restored. After them: it is removed.
        fs::rename(at("model"), at(".model.77-0.old")).unwrap();
        folder(&at(".model.77-1.tmp"), "three");
        recover(dir.path()).unwrap();
        assert_eq!(folders(dir.path()), [("model".into(), "two".into())]);
        folder(&at(".model.77-0.old"), "one");
        // A kill while a folder was being removed: it is not restored.
        folder(&at(".step-000002.77-3.tmp"), "half");
        recover(dir.path()).unwrap();
        assert_eq!(folders(dir.path()), [("model".into(), "two".into())]);
        remove_folder(&at("model")).unwrap();
        remove_folder(&at("model")).unwrap();
        assert_eq!(folders(dir.path()), []);
        recover(&at("missing")).unwrap();
    }

    #[test]
    fn hidden_files_of_other_programs_stay() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            [".model.tmp", ".model.x-1.tmp", ".model.1.old", "model.1-2.tmp", ".name.1234.partial", ".lock"];
        names.iter().for_each(|name| folder(&dir.path().join(name), name));
        recover(dir.path()).unwrap();
        assert_eq!(folders(dir.path()).len(), names.len());
    }

    /// A reader polls the path while one folder replaces another.
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    #[test]
    fn at_each_moment_one_of_the_two_folders_has_the_name() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let dir = tempfile::tempdir().unwrap();
        let (model, other) = (dir.path().join("model"), dir.path().join("other"));
        folder(&model, "0");
        folder(&other, "1");
        if exchange(&model, &other).is_err() {
            return; // the file system cannot exchange folders
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(model.exists());
                }
            });
            for text in 0..100 {
                let new = AtomicFolder::create(&model).unwrap();
                fs::write(new.path().join("file"), text.to_string()).unwrap();
                new.commit().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_to_string(model.join("file")).unwrap(), "99");
    }
}
