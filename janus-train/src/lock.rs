//! One run at a time in a folder.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::file::AtPath;
use crate::{Error, Result};

/// A run's folder, for as long as this lives. The system takes the lock back when the process ends, however it ends.
pub(crate) struct RunLock(File);

impl RunLock {
    /// Locks `.lock` in the folder and writes the process into it, for another run to say.
    ///
    /// # Errors
    /// [`Error::Busy`] if another run has it.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(".lock");
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).at(&path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).at(&path)?;
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // Where a lock keeps others from reading, too, nobody can be named.
                let _ = file.rewind().and_then(|()| file.read_to_string(&mut process));
                Err(Error::Busy { path: dir.into(), process: process.parse().ok() })
            }
            Err(TryLockError::Error(source)) => Err(source).at(&path),
        }
    }
}

impl Drop for RunLock {
    /// Leaves the file empty: a folder holds the same bytes whoever worked in it.
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
    }
}
