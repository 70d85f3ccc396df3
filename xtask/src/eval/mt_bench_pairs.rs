//! `cargo xtask eval mt-bench-pairs`: the table of MT-Bench's pairwise modes.

use std::path::PathBuf;

use janus_eval::results::MtBenchPairsResult;

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome};

/// Win rates from MT-Bench's pairwise judgments
///
/// A row is won if both orders say so; a disagreement is a tie; a row in which an order has no verdict is
/// counted and left out.
///
/// Reads:   JUDGMENTS: rows of {question_id, turn, model_1, model_2, g1_winner, g2_winner}, winners model_1,
///          model_2, tie or error; other fields are ignored.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval mt-bench-pairs --judgments gpt-4_pair.jsonl --baseline gpt-3.5-turbo --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The judge's verdicts
    #[arg(long, value_name = "JUDGMENTS")]
    judgments: PathBuf,
    /// Count the rows against this model only
    #[arg(long, value_name = "MODEL")]
    baseline: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    outcome("eval mt-bench-pairs", &MtBenchPairsResult::of_file(&args.judgments, args.baseline.as_deref()).bad_input()?)
}
