//! BLAKE3 fingerprints of files and folders, as lower-case hex; the code's revision, the machine, the time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::command::CommandError;

/// The fingerprint of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The fingerprint of a file's content.
///
/// # Errors
/// Bad input if the file cannot be read.
pub fn of_file(path: &Path) -> Result<String, CommandError> {
    let hash = || -> std::io::Result<_> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok(hasher.finalize().to_hex().to_string())
    };
    hash().map_err(|error| unreadable(path, &error))
}

/// The fingerprint of a file's content or of a folder's names and contents. It does not depend on
/// where the file or folder lies.
///
/// # Errors
/// Bad input if there is nothing at `path` or it cannot be read.
pub fn of_path(path: &Path) -> Result<String, CommandError> {
    if !path.is_dir() {
        return of_file(path);
    }
    let mut hasher = blake3::Hasher::new();
    for name in files_below(path)? {
        // Hashes have one length and names no line break between them, so no two folders look alike.
        hasher.update(format!("{} {name:?}\n", of_file(&path.join(&name))?).as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Every file below a folder, by its path from there (with `/`), in order. What a kill in the middle of
/// [`janus_data::write_file`] leaves behind (`.name.1234-0.tmp`) is no content and left out.
///
/// # Errors
/// Bad input if the folder cannot be read.
pub fn files_below(folder: &Path) -> Result<Vec<String>, CommandError> {
    let mut found = Vec::new();
    let mut open: Vec<(PathBuf, String)> = vec![(folder.to_path_buf(), String::new())];
    while let Some((path, prefix)) = open.pop() {
        for entry in fs::read_dir(&path).map_err(|error| unreadable(&path, &error))? {
            let entry = entry.map_err(|error| unreadable(&path, &error))?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| CommandError::bad_input(format!("{}: the file name {name:?} is not UTF-8: rename it", path.display())))?;
            if name.starts_with('.') && name.ends_with(".tmp") {
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

/// The revision of the checkout that the program runs in, and whether it was changed since; null where there is none.
pub fn git() -> Value {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    json!({ "revision": git(&["rev-parse", "HEAD"]), "changed": git(&["status", "--porcelain"]).map(|status| !status.is_empty()) })
}

/// What the program runs on.
pub fn machine() -> Value {
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Seconds from 1970 to a time.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn unreadable(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::bad_input(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_changes_with_every_name_and_byte_and_not_with_its_place() {
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
    fn what_is_missing_is_named() {
        let error = of_path(Path::new("no/such/file")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("no/such/file: "), "{error}");
    }
}
