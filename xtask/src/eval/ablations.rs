//! `cargo xtask eval ablations`: variants of a model side by side.

use std::path::PathBuf;

use janus_eval::results::{AblationResult, AblationVariant};

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome};

/// Compare variants of a model row by row: system messages for each instruction, base models, training and test
///
/// A variant says what is varied and where its scores are: AXIS=VALUE[,AXIS=VALUE...]:SCORES. The first one
/// is what the others are compared with. Intervals: 95%, bootstrap over instructions.
///
/// Reads:   BENCH: the judged records. SCORES: a file of {id, source, scores} rows in the bench's order, such as
///          runs/mini-0/scores/MODEL.jsonl, or a folder that `judge rubric` wrote, with all its runs.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval ablations --bench runs/mini-0/mini/bench.jsonl
///          --variant training=uniform:runs/mini-0/scores/uniform.jsonl
///          --variant training=diverse:runs/mini-0/scores/janus.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The bench's records, whose prompts say which rows are one instruction's
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// A variant and its scores; at least two
    #[arg(long = "variant", value_name = "AXIS=VALUE,...:SCORES", required = true)]
    variants: Vec<AblationVariant>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    if args.variants.len() < 2 {
        return Err(CommandError::bad_input("--variant is given once: expected two or more, the first of which is compared with"));
    }
    outcome("eval ablations", &AblationResult::of_files(&args.bench, &args.variants, args.seed).bad_input()?)
}
