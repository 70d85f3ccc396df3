//! BLAKE3 fingerprints of bytes, files and folders, as 64 lower-case hex digits.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{TEMPORARY, hidden_name};
use crate::{Error, Result};

/// The fingerprint of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The fingerprint of a file's content.
///
/// # Errors
/// [`Error::Io`].
pub fn of_file(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(Error::io(path, "open the file"))?;
    hasher.update_reader(file).map_err(Error::io(path, "read the file"))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The fingerprint of a file's content or of a folder's names and contents. It does not depend on where the
/// file or folder is.
///
/// ```
/// use janus_data::{fs::fingerprint, write_file};
/// # let root = tempfile::tempdir()?;
/// let [a, b] = ["a", "b"].map(|name| root.path().join(name));
/// for folder in [&a, &b] {
///     std::fs::create_dir(folder)?;
///     write_file(folder.join("config.json"), b"{}")?;
/// }
/// assert_eq!(fingerprint::of_path(&a)?, fingerprint::of_path(&b)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Io`].
pub fn of_path(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return of_file(path);
    }
    let mut hasher = blake3::Hasher::new();
    for name in files_below(path)? {
        // Hashes have a fixed length, and `{:?}` escapes line breaks in names, so different folders give
        // different lines.
        hasher.update(format!("{} {name:?}\n", of_file(&path.join(&name))?).as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The path of every file below a folder, relative to the folder (with `/`), sorted. Temporary files of
/// [`fs`](super), which a kill may have left behind, are skipped.
///
/// # Errors
/// [`Error::Io`]; also for a name that is not UTF-8.
pub fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open: Vec<(PathBuf, String)> = vec![(folder.to_path_buf(), String::new())];
    while let Some((path, prefix)) = open.pop() {
        let io = || Error::io(&path, "read the folder");
        for entry in fs::read_dir(&path).map_err(io())? {
            let entry = entry.map_err(io())?;
            let name = entry.file_name().into_string().map_err(|name| {
                io()(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the file name {name:?} is not UTF-8: rename it"),
                ))
            })?;
            if hidden_name(&name, TEMPORARY).is_some() {
                continue;
            }
            let below = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if entry.path().is_dir() {
                open.push((entry.path(), below));
            } else {
                found.push(below);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_names_and_contents_but_not_on_the_location() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str, files: &[(&str, &str)]| {
            for (file, text) in files {
                let path = root.path().join(name).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            of_path(&root.path().join(name)).unwrap()
        };
        let first = folder("a", &[("x/1", "one"), ("y", "two")]);
        assert_eq!(first, folder("b", &[("y", "two"), ("x/1", "one")]));
        assert_eq!(first, folder("b", &[("x/.1.77-0.tmp", "cut off")]));
        assert_ne!(first, folder("c", &[("x/1", "one"), ("y", "twO")]));
        assert_ne!(first, folder("d", &[("x1", "one"), ("y", "two")]));
        assert_ne!(first, folder("e", &[("x/1", "one"), ("y", "two"), ("z", "")]));
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_version() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("x")).unwrap();
        fs::write(root.path().join("x/1"), "one").unwrap();
        fs::write(root.path().join("y"), "two").unwrap();
        let lines = format!("{} \"x/1\"\n{} \"y\"\n", of_bytes(b"one"), of_bytes(b"two"));
        assert_eq!(of_path(root.path()).unwrap(), of_bytes(lines.as_bytes()));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = of_path(Path::new("no/such/file")).unwrap_err();
        assert!(error.to_string().starts_with("no/such/file: "), "{error}");
    }
}
