//! Locks, which admit one process at a time.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::create_parent;
use crate::{Error, Result};

/// Exclusive use of a folder for as long as this value lives. The system releases the lock when the process
/// ends, however it ends.
///
/// ```
/// use janus_data::{Error, fs::Lock};
/// # let folder = tempfile::tempdir()?;
/// let lock = Lock::folder(folder.path())?;
/// let second = Lock::folder(folder.path());
/// assert!(matches!(second, Err(Error::Locked { process, .. }) if process == Some(std::process::id())));
/// drop(lock);
/// Lock::folder(folder.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    file: File,
}

impl Lock {
    /// Locks the file `.lock` in a folder and writes the id of this process into it, which the error of
    /// another process names.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process, or another `Lock` of this one, holds it; [`Error::Io`].
    pub fn folder(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(".lock");
        let Some(mut file) = open_locked(&path)? else {
            // On systems where a lock also prevents reading, the process is unknown.
            let process = fs::read_to_string(&path).ok().and_then(|process| process.parse().ok());
            return Err(Error::Locked { path: folder.into(), process });
        };
        file.set_len(0)
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(Error::io(&path, "write the lock"))?;
        Ok(Self { folder: folder.into(), file })
    }

    /// The folder that is locked.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Lock {
    /// Leaves the file empty, so that the bytes of the folder do not depend on the process. Closing the file
    /// alone would not release the lock while a child process that is just being started shares it.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// Opens a file to read and write that nobody else has opened so; `None` if somebody has. It is made empty,
/// and its folder made, if it is not there. It is free again when the file is closed or the process ends.
///
/// # Errors
/// [`Error::Io`].
pub fn open_locked(path: &Path) -> Result<Option<File>> {
    create_parent(path)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io(path, "open the file"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io(path, "lock the file")(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    /// Names the folder in which the child process of the test below takes the lock.
    const FOLDER: &str = "JANUS_DATA_TEST_LOCK";

    #[test]
    fn a_lock_names_its_process_and_is_free_when_that_is_killed() {
        if let Some(folder) = std::env::var_os(FOLDER) {
            let _lock = Lock::folder(folder).unwrap();
            eprintln!("\nlocked");
            std::thread::sleep(std::time::Duration::from_secs(600));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "fs::lock::tests::a_lock_names_its_process_and_is_free_when_that_is_killed",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let locked = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(|line| line.ok())
            .find(|line| line == "locked");
        let error = Lock::folder(folder.path()).unwrap_err();
        let process = child.id();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(locked.is_some(), "the child ended before it had the lock");
        assert!(
            matches!(&error, Error::Locked { path, process: Some(found) } if path == folder.path() && *found == process),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("(process {process})")), "{error}");
        let lock = Lock::folder(folder.path()).unwrap();
        // As a child process shares it until it runs its own program.
        let shared = lock.file.try_clone().unwrap();
        drop(lock);
        drop(Lock::folder(folder.path()).expect("the lock is released although its file is open"));
        drop(shared);
        assert_eq!(
            fs::read(folder.path().join(".lock")).unwrap(),
            b"",
            "a released lock leaves an empty file"
        );
    }
}
