//! `cargo xtask verify-goldens`: the reference numbers, recomputed.

mod files;
mod model;
mod sampling;
mod training;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::command::{CommandError, Outcome};
use files::Compared;

/// Check the workspace against reference numbers of other programs
///
/// Takes every folder below FOLDER with a cases.json (a model with its inputs and outputs), every sampling.json and
/// every mistral_tokenizer.json; recomputes what they hold and compares. A number may differ by ten times what the
/// file states as the difference between float32 and float64, or by 1e-5 + 1e-5 |x|, whichever is more (parameters
/// after the optimiser run: by 2e-5); ids must be equal.
///
/// Reads:   FOLDER, which PyTorch, transformers and TRL filled and which does not come with the project. Beside each
///          cases.json: config.json and config.v5.json (one model, both spellings), model.safetensors,
///          ref_model.safetensors (DPO's reference), value_head.safetensors, and inputs and outputs in
///          cases.safetensors, grads_*.safetensors and adamw_final.safetensors.
/// Writes:  nothing; a table goes to stdout, its last line "N of M within tolerance". Exit code 1 if one
///          is not, a file is missing, or there is nothing to check.
/// Example: cargo xtask verify-goldens ../shared/goldens
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Where the reference numbers are
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The tokenizer.json that mistral_tokenizer.json was made with
    #[arg(long, value_name = "FILE", default_value = "../shared/goldens/mistral_v0.2_tokenizer.json")]
    tokenizer: PathBuf,
}

/// One line of the table.
struct Check {
    case: String,
    /// The worst difference and what it may be, or why there is none.
    result: Result<Compared, String>,
}

impl Check {
    fn ok(&self) -> bool {
        self.result.as_ref().is_ok_and(|compared| compared.within)
    }

    fn row(&self) -> String {
        let ok = if self.ok() { "yes" } else { "NO" };
        match &self.result {
            Ok(compared) => format!("{:<48} {:>12.3e} {:>12.3e}  {ok}", self.case, compared.difference, compared.tolerance),
            Err(reason) => format!("{:<48} {:>12} {:>12}  {ok}: {reason}", self.case, "-", "-"),
        }
    }

    fn json(&self) -> Value {
        let (difference, tolerance, reason) = match &self.result {
            Ok(compared) => (Some(compared.difference), Some(compared.tolerance), None),
            Err(reason) => (None, None, Some(reason)),
        };
        json!({ "case": self.case, "max_abs_difference": difference, "tolerance": tolerance, "ok": self.ok(), "reason": reason })
    }
}

/// The checks so far; a case that cannot be computed is one that is not within tolerance.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, case: impl Into<String>, result: Result<Compared, String>) {
        self.0.push(Check { case: case.into(), result });
    }

    /// Runs a group of checks; if it cannot come to its end, its name stands for the rest of it.
    fn group(&mut self, case: &str, run: impl FnOnce(&mut Self) -> Result<(), String>) {
        if let Err(reason) = run(self) {
            self.add(case, Err(reason));
        }
    }
}

/// Runs the command.
///
/// # Errors
/// None: what cannot be read counts as not within tolerance.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut checks = Checks::default();
    visit(&args.folder, &args.folder, &args.tokenizer, &mut checks);
    let of = checks.0.len();
    let within = checks.0.iter().filter(|check| check.ok()).count();
    let mut table = format!("{:<48} {:>12} {:>12}  ok\n", "case", "max abs diff", "tolerance");
    checks.0.iter().for_each(|check| table.push_str(&format!("{}\n", check.row())));
    table.push_str(&format!("{within} of {of} within tolerance"));
    let report = json!({
        "command": "verify-goldens",
        "cases": checks.0.iter().map(Check::json).collect::<Vec<_>>(),
        "within": within,
        "of": of,
    });
    if of == 0 {
        let reason = format!("{}: no cases.json, sampling.json or mistral_tokenizer.json there or below", args.folder.display());
        return Ok(Outcome::failed(reason, report).showing(table));
    }
    if within < of {
        return Ok(Outcome::failed(format!("{} of {of} are not within tolerance", of - within), report).showing(table));
    }
    Ok(Outcome::done(table, report))
}

/// Checks a folder and those below it, in the order of their names.
fn visit(root: &Path, folder: &Path, tokenizer: &Path, checks: &mut Checks) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return checks.add(name(root, folder), Err(format!("{}: {error}", folder.display()))),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
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
            Some("mistral_tokenizer.json") => checks.group(&case, |checks| sampling::check_tokenizer(&case, &path, tokenizer, checks)),
            _ => {}
        }
    }
}

/// A path as the table shows it: from the folder that was asked for.
fn name(root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_string_lossy().into_owned(),
        _ => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}
