//! `cargo xtask eval collection`: what a training set holds.

use janus_core::SftRecord;
use janus_data::{paths, read_files};
use janus_eval::bench::collection::Counter;

use super::flat;
use crate::command::{Blame as _, CommandError, Outcome};
use crate::data::ReadArgs;

/// Counts of a training set: the quantities of the paper's Table 1
///
/// Rows are read one by one, so that a collection may be larger than memory.
///
/// Reads:   FILES: rows of {system, prompt, output, preference_set}, in any format of `data`; rows without a
///          preference set are counted, and count for no dimension.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask data build-mini --out mini && cargo xtask eval collection mini/train.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Files, or patterns in quotes
    #[arg(value_name = "FILES", required = true)]
    files: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
}

/// Runs the command.
///
/// # Errors
/// Bad input for a file that cannot be read, or no row at all.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut files = Vec::new();
    for pattern in &args.files {
        files.extend(paths(pattern).bad_input()?);
    }
    let mut counter = Counter::default();
    for row in read_files::<SftRecord>(files, args.read.resolve()?) {
        counter.add(&row.bad_input()?);
    }
    let counts = counter.counts();
    if counts.rows == 0 {
        return Err(CommandError::bad_input(format!("{}: there is no row to count", args.files.join(", "))));
    }
    let lines = [
        ("rows", counts.rows),
        ("instructions", counts.instructions),
        ("system messages", counts.system_messages),
        ("dimensions", counts.dimensions),
        ("subdimensions", counts.subdimensions),
        ("preferences", counts.preferences),
        ("rows without preferences", counts.without_preferences),
    ];
    let text: String = lines.iter().map(|(name, count)| format!("{name:25} {count:>9}\n")).collect();
    Ok(Outcome::done(text.trim_end(), flat("eval collection", &[&counts])?))
}
