//! `cargo xtask eval mt-bench`: grades of two turns.

use std::path::PathBuf;

use janus_eval::results::MtBenchResult;

use super::{DATA, outcome};
use crate::command::{Blame as _, CommandError, Outcome};

/// Score of MT-Bench from a judge's texts
///
/// The rating is the first [[number]] of a text, or its first [number]. Rows without one are counted and
/// left out of the means.
///
/// Reads:   JUDGMENTS: rows of {question_id, turn, judgment}; other fields are ignored.
///          DATA/mt_bench/question.jsonl.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval mt-bench
///          --judgments ../shared/data/mt_bench/judgments/llama2_chat_7b.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The judge's texts on one model
    #[arg(long, value_name = "JUDGMENTS")]
    judgments: PathBuf,
    /// The folder of reference data
    #[arg(long, value_name = "DATA", default_value = DATA)]
    data: PathBuf,
    /// Seed of the bootstrap over questions
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let questions = args.data.join("mt_bench/question.jsonl");
    outcome("eval mt-bench", &MtBenchResult::of_files(&args.judgments, questions, args.seed).bad_input()?)
}
