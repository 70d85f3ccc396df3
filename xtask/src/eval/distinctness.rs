//! `cargo xtask eval distinctness`: how much answers under different system messages resemble each other.

use std::path::PathBuf;

use janus_eval::results::DistinctnessResult;

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome};

/// Average and maximum ROUGE-L among the answers to one instruction under its system messages
///
/// Lower is more distinct. Each instruction weighs the same; one with a single answer has nothing to
/// resemble and is counted apart. Intervals: 95%, bootstrap over instructions.
///
/// Reads:   RESPONSES: rows of {prompt, response}, or {prompt, output} as in a training set; rows with the same
///          prompt belong together. With --bench: rows of {id, response}, whose prompts the bench has.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval distinctness --bench runs/mini-0/mini/bench.jsonl
///          --responses runs/mini-0/responses/janus.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The answers
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
    /// The bench's records, for responses that have ids and no prompts
    #[arg(long, value_name = "BENCH")]
    bench: Option<PathBuf>,
    /// Seed of the bootstrap over instructions
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    outcome("eval distinctness", &DistinctnessResult::of_files(&args.responses, args.bench.as_deref(), args.seed).bad_input()?)
}
