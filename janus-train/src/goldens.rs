//! Checks against reference numbers: whether this build computes the same as PyTorch, transformers and
//! TRL.
//!
//! [`verify`] searches a folder recursively for reference files: a folder with a `cases.json` (a model
//! with its inputs and outputs), `sampling.json`, `schedules.json`, `tokens.json` (with `tokenizer.json`
//! in the same folder) and `mistral_tokenizer.json`. It recomputes their numbers and compares. The
//! tolerance is ten times the difference between float32 and float64 that the file states, or
//! `1e-5 + 1e-5 |x|`, whichever is larger (parameters after the optimiser run: 2e-5). Ids must be equal.
//! The reference files of this repository are in `goldens/`, with the program that made them.

mod files;
mod golden;
mod model;
mod sampling;
mod tokens;
mod training;

use std::fmt;
use std::path::{Path, PathBuf};

pub use files::Compared;

/// The result of one comparison with a reference.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// The model, the case and the quantity.
    pub case: String,
    /// The largest difference and its tolerance, or why nothing could be compared.
    pub result: Result<Compared, String>,
}

impl Check {
    /// Whether the comparison was made and every difference is within its tolerance.
    pub fn ok(&self) -> bool {
        self.result.as_ref().is_ok_and(|compared| compared.within)
    }
}

impl fmt::Display for Check {
    /// A line of a table: case, difference, tolerance, verdict.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ok = if self.ok() { "yes" } else { "NO" };
        match &self.result {
            Ok(compared) => write!(
                f,
                "{:<48} {:>12.3e} {:>12.3e}  {ok}",
                self.case, compared.difference, compared.tolerance
            ),
            Err(reason) => write!(f, "{:<48} {:>12} {:>12}  {ok}: {reason}", self.case, "-", "-"),
        }
    }
}

/// Checks every reference file in `folder` and below. `tokenizer` is the `tokenizer.json` that
/// `mistral_tokenizer.json` was made with. A file that cannot be read or recomputed is a failed check.
pub fn verify(folder: &Path, tokenizer: &Path) -> Vec<Check> {
    let mut checks = Checks::default();
    visit(folder, folder, tokenizer, &mut checks);
    checks.0
}

/// The checks so far.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, case: impl Into<String>, result: Result<Compared, String>) {
        self.0.push(Check { case: case.into(), result });
    }

    /// Runs a group of checks. If it fails before its end, a failed check with the group's name is
    /// added.
    fn group(&mut self, case: &str, run: impl FnOnce(&mut Self) -> Result<(), String>) {
        if let Err(reason) = run(self) {
            self.add(case, Err(reason));
        }
    }
}

/// Checks a folder and those below it, in the order of their names.
fn visit(root: &Path, folder: &Path, tokenizer: &Path, checks: &mut Checks) {
    let entries = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut paths: Vec<PathBuf> = match entries {
        Ok(paths) => paths,
        Err(error) => return checks.add(name(root, folder), Err(format!("{}: {error}", folder.display()))),
    };
    paths.sort();
    for path in paths {
        if path.is_dir() {
            visit(root, &path, tokenizer, checks);
            continue;
        }
        let case = name(root, &path);
        match path.file_name().and_then(|name| name.to_str()) {
            Some("cases.json") => model::check(&name(root, folder), folder, checks),
            Some("sampling.json") => checks.group(&case, |checks| sampling::check(&case, &path, checks)),
            Some("schedules.json") => {
                checks.group(&case, |checks| sampling::check_schedules(&case, &path, checks))
            }
            Some("tokens.json") => {
                checks.group(&case, |checks| {
                    tokens::check(&case, &path, &path.with_file_name("tokenizer.json"), checks)
                });
            }
            Some("mistral_tokenizer.json") => {
                checks.group(&case, |checks| tokens::check(&case, &path, tokenizer, checks))
            }
            _ => {}
        }
    }
}

/// A path as the table shows it: relative to the root folder.
fn name(root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_string_lossy().into_owned(),
        _ => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}
