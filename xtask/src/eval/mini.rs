//! `cargo xtask eval mini`: scores responses to Multifaceted Mini.

use std::path::PathBuf;

use janus_eval::results::MiniResult;

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome};

/// Score responses to Multifaceted Mini by computation
///
/// Every response is scored from 1 to 5 for each of its record's four preferences; a score is bounded
/// by the truth of the answer.
///
/// Reads:   BENCH: a bench.jsonl of Multifaceted Mini (.json, .jsonl, .parquet, also .gz).
///          RESPONSES: rows of {id, response}; other fields are ignored.
/// Writes:  nothing; the scores go to stdout, with --json the scores of each row and their reasons too.
/// Example: cargo xtask eval mini --bench runs/mini-0/mini/bench.jsonl
///          --responses runs/mini-0/responses/janus.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The bench's records
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// The responses
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    outcome("eval mini", &MiniResult::of_files(&args.bench, &args.responses, args.seed).bad_input()?)
}
