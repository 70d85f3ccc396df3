//! `cargo xtask eval alpaca-eval`: win rates against GPT-4 Turbo.

use std::path::PathBuf;

use janus_eval::bench::alpaca_eval::{self, LengthControl};
use janus_eval::results::AlpacaEvalResult;

use super::{DATA, outcome};
use crate::command::{Blame as _, CommandError, Outcome};

/// Win rate and length-controlled win rate of AlpacaEval 2.0
///
/// Preferences are read from the judge's log-probabilities where a row has them, otherwise the stored
/// one counts. Without --c, the penalty of the length control is chosen by cross-validation.
///
/// Reads:   ANNOTATIONS: rows of {index, output, preference, top_logprobs} (.json, .jsonl, .parquet, also
///          .gz), preference 1 (baseline wins) to 2 (model wins) or null; position is optional.
///          DATA/alpaca_eval: eval_set.jsonl.gz, instruction_difficulty.csv, gamed_baseline.csv,
///          cv_folds_model_rows.json.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval alpaca-eval
///          --annotations ../shared/data/alpaca_eval/annotations/claude-2.1.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The judge's annotations of one model
    #[arg(long, value_name = "ANNOTATIONS")]
    annotations: PathBuf,
    /// The folder of reference data
    #[arg(long, value_name = "DATA", default_value = DATA)]
    data: PathBuf,
    /// Inverse strength of the penalty, instead of cross-validation
    #[arg(long, value_name = "VALUE")]
    c: Option<f64>,
    /// Which difficulty a row gets: its instruction's, or, as in the official numbers, the one at its place in the list
    #[arg(long, value_enum, default_value_t = Difficulty::Instruction)]
    difficulty: Difficulty,
    /// How weights are found: to the minimum, or to where the official optimiser stops
    #[arg(long, value_enum, default_value_t = Optimizer::Exact)]
    optimizer: Optimizer,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Difficulty {
    Instruction,
    Position,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Optimizer {
    Exact,
    Liblinear,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let control = LengthControl {
        c: args.c,
        difficulty: match args.difficulty {
            Difficulty::Instruction => alpaca_eval::Difficulty::Instruction,
            Difficulty::Position => alpaca_eval::Difficulty::Position,
        },
        optimizer: match args.optimizer {
            Optimizer::Exact => alpaca_eval::Optimizer::Exact,
            Optimizer::Liblinear => alpaca_eval::Optimizer::Liblinear,
        },
    };
    let result = AlpacaEvalResult::of_files(&args.annotations, args.data.join("alpaca_eval"), control, args.seed).bad_input()?;
    if result.is_suspicious() {
        eprintln!(
            "warning: the length-controlled win rate is far from the plain one, which may be a failure of its model: look at the lengths"
        );
    }
    outcome("eval alpaca-eval", &result)
}
