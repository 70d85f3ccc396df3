//! Files that have a temporary name until they are complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{TEMPORARY, create_parent, hidden, hidden_name, parent, sync_folder};
use crate::{Error, Result};

/// Writes a file of bytes: into a temporary file of the same folder, which is synced and then takes the name.
/// The folder is made if it is not there. After an error the old file, if there was one, is as it was.
///
/// # Errors
/// [`Error::Io`].
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::io(path, "write the file"))?;
    file.commit()
}

/// A file that is written piece by piece under a temporary name. [`AtomicFile::commit`] renames it to its
/// final name. If it is dropped before that, it is removed, and an existing file of that name stays.
///
/// ```
/// use std::io::Write as _;
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("report.md");
/// let mut file = janus_data::fs::AtomicFile::create(&path)?;
/// writeln!(file, "# Report")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "# Report\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: Temporary,
    path: PathBuf,
}

impl AtomicFile {
    /// A new file in the folder of `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let temporary = hidden(path, TEMPORARY)?;
        create_parent(path)?;
        let file = File::create_new(&temporary).map_err(Error::io(path, "create a file in the folder"))?;
        Ok(Self { file, temporary: Temporary(temporary), path: path.into() })
    }

    /// Syncs the file, renames it to its final name and syncs the folder. In an
    /// [`AtomicFolder`](super::AtomicFolder) nothing is synced before the folder is committed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit(self) -> Result<()> {
        publish(self.file, &self.temporary.0, &self.path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Syncs a complete file, renames it from `temporary` to `path`, in the same folder, and syncs the folder. It
/// is meant for files whose incomplete part outlives the process, such as a download; for others there is
/// [`AtomicFile`].
///
/// # Errors
/// [`Error::Io`].
pub fn publish(file: File, temporary: &Path, path: &Path) -> Result<()> {
    let io = |doing| Error::io(path, doing);
    let later = is_synced_with_its_folder(path);
    if !later {
        file.sync_all().map_err(io("sync the file"))?;
    }
    drop(file);
    fs::rename(temporary, path).map_err(io("rename the file into place"))?;
    if later { Ok(()) } else { sync_folder(parent(path)).map_err(io("sync the folder")) }
}

/// Whether a file is in a folder that still has a temporary name. [`AtomicFolder::commit`] syncs everything
/// in it, on systems where that is possible after writing.
///
/// [`AtomicFolder::commit`]: super::AtomicFolder::commit
fn is_synced_with_its_folder(path: &Path) -> bool {
    let is_temporary = |folder: &Path| {
        folder
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| hidden_name(name, TEMPORARY).is_some())
    };
    cfg!(unix) && path.ancestors().skip(1).any(is_temporary)
}

/// A path that is removed on drop; after the rename there is nothing left to remove.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // A failure to clean up must not hide the error that led here.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_dropped_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".to_vec(), vec!["a.txt".to_string()])
        );
    }

    #[test]
    fn a_file_is_synced_on_its_own_unless_its_folder_is_still_temporary() {
        let root = tempfile::tempdir().unwrap();
        let folder = super::super::AtomicFolder::create(root.path().join("model")).unwrap();
        for name in ["config.json", "training/state.json"] {
            let path = folder.path().join(name);
            write_file(&path, b"{}").unwrap();
            assert!(path.exists());
            assert_eq!(is_synced_with_its_folder(&path), cfg!(unix));
        }
        folder.commit().unwrap();
        assert!(!is_synced_with_its_folder(&root.path().join("model/training/state.json")));
        assert_eq!(names(&root.path().join("model")), ["config.json", "training"]);
    }

    #[test]
    fn two_writers_of_one_name_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let [mut one, mut two] = [(); 2].map(|()| AtomicFile::create(&path).unwrap());
        one.write_all(b"one").unwrap();
        two.write_all(b"second").unwrap();
        one.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        two.commit().unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"second".to_vec(), vec!["a.txt".to_string()])
        );
    }

    #[test]
    fn a_path_without_a_name_or_folder_is_rejected() {
        for path in ["", "/", ".."] {
            assert!(matches!(write_file(path, b""), Err(Error::Io { .. })), "{path}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write_file(&file, b"").unwrap();
        let error = write_file(file.join("a.txt"), b"").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: cannot create the folder", file.display())), "{error}");
    }

    /// Some writers made their folder, others failed without it.
    #[test]
    fn a_file_in_a_folder_that_is_not_there_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/a.txt");
        write_file(&path, b"new").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), names(path.parent().unwrap())),
            (b"new".to_vec(), vec!["a.txt".to_string()])
        );
    }

    /// Every write to `/dev/full` fails because no space is left.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_leaves_the_old_file() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, b"old").unwrap();
        let temporary = folder.path().join("full");
        symlink("/dev/full", &temporary).unwrap();
        let mut file = AtomicFile {
            file: File::options().write(true).open(&temporary).unwrap(),
            temporary: Temporary(temporary),
            path: path.clone(),
        };
        assert_eq!(file.write_all(b"new").unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(file);
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".to_vec(), vec!["a.txt".to_string()])
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        // Root can write anyway.
        if File::create_new(folder.path().join("probe")).is_err() {
            let error = write_file(folder.path().join("a.txt"), b"").unwrap_err();
            assert!(
                matches!(&error, Error::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied),
                "{error}"
            );
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
