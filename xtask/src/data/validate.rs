//! `cargo xtask data validate`: every problem of files of records.

use janus_data::RecordKind;
use serde_json::json;

use super::FilesArgs;
use crate::command::{CommandError, Outcome, report};

/// Check files of records, and name every problem
///
/// Each problem has its file, row, field, what was expected and what stands there. Exit code 1 if there is any.
///
/// Reads:   FILES of sft, pairs, reward or bench rows, in the released or an older layout.
/// Writes:  nothing; the problems go to stderr, a summary to stdout, with --json both into the object.
/// Example: cargo xtask data validate 'collection/*.jsonl'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    input: FilesArgs,
    /// What the rows are: sft, pairs, reward or bench; without it, each file's first row tells
    #[arg(long, value_name = "KIND")]
    kind: Option<RecordKind>,
    /// Name the first problems only; all are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let files = args.input.paths()?;
    if let Some(missing) = files.iter().find(|path| !path.exists()) {
        return Err(CommandError::bad_input(format!("{}: there is no such file", missing.display())));
    }
    let found = janus_data::validate(&files, args.kind, &args.input.read.resolve()?, args.limit);
    for finding in &found.findings {
        eprintln!("{finding}");
    }
    let mut text = format!("{} files, {} rows: ", found.files.len(), found.rows);
    let mut report = report("data validate", &found)?;
    report["valid"] = json!(found.problems == 0);
    if found.problems == 0 {
        return Ok(Outcome::done(text + "no problem", report));
    }
    let fields: Vec<String> = found
        .by_field
        .iter()
        .map(|(field, count)| format!("{} {count}", if field.is_empty() { "whole rows or files" } else { field }))
        .collect();
    text += &format!("{} problems in {} rows ({})", found.problems, found.bad_rows, fields.join(", "));
    Ok(Outcome::failed(text, report))
}
