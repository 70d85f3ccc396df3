//! The run folder that a judge leaves.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use janus_data::fs::fingerprint;
use janus_data::provenance::{Revision, unix_seconds};
use janus_data::write_file;
use janus_eval::judge::{Counts, Estimate};
use janus_eval::report::Report;
use janus_eval::run::{CaseRun, compare_cases};
use janus_infer::remote::RemoteModel;
use serde::Serialize;
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome};
use crate::service::asked_now;

/// What `run.json` says of a run: all that its results do not depend on, and what it takes to repeat it.
pub struct RunRecord {
    /// The command.
    pub command: &'static str,
    begun: SystemTime,
    config: Value,
    inputs: Value,
}

impl RunRecord {
    /// At the beginning of a run: its arguments, and its files by name.
    ///
    /// # Errors
    /// Bad input for a file that cannot be read.
    pub fn begin(command: &'static str, args: &impl Serialize, inputs: &[(&str, Option<&PathBuf>)]) -> Result<Self, CommandError> {
        let mut files = json!({});
        for (name, path) in inputs {
            if let Some(path) = path {
                files[name] = json!({ "path": path, "blake3": fingerprint::of_file(path).bad_input()? });
            }
        }
        Ok(Self { command, begun: SystemTime::now(), config: serde_json::to_value(args).failure()?, inputs: files })
    }

    /// At its end.
    pub fn end(self, out: &Path, service: &str, model: &RemoteModel, estimate: &Estimate) -> Value {
        json!({
            "program": concat!("xtask ", env!("CARGO_PKG_VERSION")),
            "git": Revision::of_checkout(),
            "command": self.command,
            "folder": std::path::absolute(out).unwrap_or_else(|_| out.into()),
            "config": self.config,
            "service": service,
            "inputs": self.inputs,
            "begun": unix_seconds(self.begun),
            "ended": unix_seconds(SystemTime::now()),
            "asked_now": asked_now(&model.usage()),
            // Whether parameters that change nothing were sent; null where nothing was asked.
            "extensions_known": model.knows_extensions(),
            "answered_before": estimate.answered,
        })
    }
}

/// Writes the report's three forms and `run.json`.
///
/// # Errors
/// A failure if a file cannot be written.
pub fn write(out: &Path, report: &Report, record: &Value) -> Result<(), CommandError> {
    report.write(out).failure()?;
    write_file(out.join("run.json"), format!("{record:#}\n").as_bytes()).failure()
}

/// Writes the whole folder of a run of cases; the outcome is a failure if a call has no verdict.
/// `numbers` are the command's own, an object.
///
/// # Errors
/// A failure if a file cannot be written.
pub fn finish(out: &Path, run: &CaseRun, record: &Value, text: &str, numbers: Value) -> Result<Outcome, CommandError> {
    run.write(out).failure()?;
    write(out, &compare_cases(std::slice::from_ref(run), crate::report::ROWS).failure()?, record)?;
    let result = &run.result;
    let page = out.join("report.html");
    let mut report = numbers;
    let (command, counts) = (&record["command"], result.head.counts);
    let common = [("command", json!(command)), ("run", json!(record)), ("out", json!(out)), ("page", json!(page))];
    for (key, value) in common.into_iter().chain([("counts", json!(counts)), ("result", json!(result))]) {
        report[key] = value;
    }
    let Counts { calls, failed, .. } = counts;
    if failed == 0 {
        return Ok(Outcome::done(format!("{text}\n{}", page.display()), report));
    }
    let missing = format!("{failed} of {calls} verdicts are missing");
    Ok(Outcome::failed(format!("{}: {text}; {missing}: repeat the command to ask them again", out.display()), report))
}

/// A model's name: the given one, or its file's without endings.
pub fn name(given: Option<&String>, path: &Path) -> String {
    let name = || path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    given.cloned().unwrap_or_else(|| name().split('.').next().unwrap_or_default().into())
}

/// The names of a model and its opponent, which differ: files of the same name are numbered.
///
/// # Errors
/// Bad input if both were given the same name.
pub fn names(model: (Option<&String>, &Path), opponent: (Option<&String>, &Path)) -> Result<[String; 2], CommandError> {
    let (one, two) = (name(model.0, model.1), name(opponent.0, opponent.1));
    match (one == two, model.0.is_some() && opponent.0.is_some()) {
        (true, true) => Err(CommandError::bad_input(format!("both models are named {one}: give them two names"))),
        (true, false) => Ok([one, format!("{two} (2)")]),
        _ => Ok([one, two]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_models_never_share_a_name() {
        let (a, b, given) = (Path::new("x/mine.jsonl.gz"), Path::new("y/mine.jsonl"), "janus".to_string());
        assert_eq!(names((None, a), (None, b)).unwrap(), ["mine", "mine (2)"]);
        assert_eq!(names((Some(&given), a), (None, b)).unwrap(), ["janus", "mine"]);
        assert_eq!(names((Some(&given), a), (Some(&given), b)).unwrap_err().exit_code(), 2);
    }
}
