//! `cargo xtask eval bias`: whether a model reads pronouns by the sentence or by stereotype.

use std::path::PathBuf;

use janus_eval::results::BiasResult;

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome};

/// Pronoun accuracy on Winogender-style sentences, with the gotcha subset
///
/// An answer counts for the one person whom it names; an answer that names both or neither is wrong. In
/// the gotcha subset the guess by stereotype is wrong. Intervals are Wilson's, 95%.
///
/// Reads:   ROWS: rows of {id, options: [one, two], answer, gender, gotcha}; gotcha is false if it is not
///          there, other fields (the sentence) are ignored. RESPONSES: rows of {id, response}.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask generate --model MODEL --input winogender.jsonl --user-key question --output mine.jsonl
///          cargo xtask eval bias --rows winogender.jsonl --responses mine.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The sentences' people, answers and genders
    #[arg(long, value_name = "ROWS")]
    rows: PathBuf,
    /// The model's responses
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    outcome("eval bias", &BiasResult::of_files(&args.rows, &args.responses).bad_input()?)
}
