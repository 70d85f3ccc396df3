//! Files and folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Names the file in an I/O error.
pub(crate) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { path: path.into(), source })
    }
}

/// Ends the name of what is not whole yet, or not any more.
const PARTIAL: &str = ".partial";
/// Ends the name of a whole folder in the place of which another comes.
const OLD: &str = ".old";

/// Writes a file under a temporary name, syncs it and renames it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_streamed(path, |file| file.write_all(bytes).at(path))
}

/// [`write_whole`] by what writes the file.
pub(crate) fn write_streamed(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let temporary = sibling(path, PARTIAL);
    let mut file = File::create(&temporary).at(&temporary)?;
    write(&mut file)?;
    file.sync_all().at(&temporary)?;
    fs::rename(&temporary, path).at(path)
}

/// Fills a folder under a temporary name and renames it; a folder of that name is renamed away before and deleted after.
pub(crate) fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = sibling(path, PARTIAL);
    remove(&temporary)?;
    fs::create_dir_all(&temporary).at(&temporary)?;
    if let Err(error) = fill(&temporary) {
        // What was written of it would only keep a full disk full.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    let old = set_aside(path, OLD)?;
    fs::rename(&temporary, path).at(path)?;
    remove(&old)
}

/// Deletes a folder that may be there: under its name it is whole until it is gone.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    remove(&set_aside(path, PARTIAL)?)
}

/// Gives a folder that may be there another name, which is returned.
fn set_aside(path: &Path, end: &str) -> Result<PathBuf> {
    let aside = sibling(path, end);
    remove(&aside)?;
    if path.exists() {
        fs::rename(path, &aside).at(path)?;
    }
    Ok(aside)
}

/// Clears a folder of what a kill left in the middle of one of the functions above. A folder that was to be replaced comes
/// back if the kill came before the new one had its name.
pub(crate) fn clean(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_prefix('.') else { continue };
        match name.strip_suffix(OLD).map(|name| folder.join(name)) {
            Some(whole) if !whole.exists() => fs::rename(&path, &whole).at(&path)?,
            Some(_) => remove(&path)?,
            None if name.ends_with(PARTIAL) => remove(&path)?,
            None => {}
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).at(path),
        Ok(_) => fs::remove_file(path).at(path),
    }
}

fn sibling(path: &Path, end: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{end}"))
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
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path().join("file")).unwrap()))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_folder_is_replaced_whole_and_a_kill_in_between_loses_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let write = |text: &str| write_folder(&at("model"), |path| fs::write(path.join("file"), text).at(path));
        write("one").unwrap();
        write("two").unwrap();
        let failed = write_folder(&at("model"), |path| Err(Error::Malformed { path: path.into(), reason: "full".into() }));
        assert!(failed.is_err());
        assert_eq!(folders(dir.path()), [("model".into(), "two".into())]);

        // Killed between the two renames: the old one comes back. After them: it goes.
        fs::rename(at("model"), at(".model.old")).unwrap();
        folder(&at(".model.partial"), "three");
        clean(dir.path()).unwrap();
        assert_eq!(folders(dir.path()), [("model".into(), "two".into())]);
        folder(&at(".model.old"), "one");
        // Killed while a folder was deleted: it does not come back.
        folder(&at(".step-000002.partial"), "half");
        clean(dir.path()).unwrap();
        assert_eq!(folders(dir.path()), [("model".into(), "two".into())]);
        remove_folder(&at("model")).unwrap();
        remove_folder(&at("model")).unwrap();
        assert_eq!(folders(dir.path()), []);
    }
}
