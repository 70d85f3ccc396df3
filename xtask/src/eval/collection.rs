//! `cargo xtask eval collection`: what a training set holds.

use janus_data::read_files;
use janus_eval::Error;
use janus_eval::results::CollectionResult;

use super::outcome;
use crate::command::{CommandError, Outcome};
use crate::data::FilesArgs;

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
    #[command(flatten)]
    input: FilesArgs,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let counted = CollectionResult::of_rows(read_files(args.input.paths()?, args.input.read.resolve()?));
    let counted = counted.map_err(|error| match error {
        Error::Empty { .. } => CommandError::bad_input(format!("{}: there is no row to count", args.input.files.join(", "))),
        error => CommandError::bad_input(error),
    });
    outcome("eval collection", &counted?)
}
