//! `cargo xtask eval mt-bench-pairs`: the table of MT-Bench's pairwise modes.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::bench::mt_bench::{PairJudgment, PairScores};

use super::{flat, of_file};
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
/// Bad input for a file that cannot be read, or without a row that counts.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let judgments: Vec<PairJudgment> = read_all(&args.judgments).bad_input()?;
    let scores = of_file(&args.judgments, PairScores::of(&judgments, args.baseline.as_deref()))?;
    let mut text = format!(
        "{} rows, {} without a verdict, {} without the baseline\n{:32} {:>5} {:>5} {:>5} {:>8}  (win + half a tie)\n",
        scores.rows, scores.failed, scores.without_baseline, "model", "win", "loss", "tie", "adjusted"
    );
    for score in &scores.models {
        text += &format!("{:32} {:5} {:5} {:5} {:8.4}\n", score.model, score.win, score.loss, score.tie, score.win_rate_adjusted);
    }
    let report = flat("eval mt-bench-pairs", &[&scores])?;
    Ok(Outcome::done(text.trim_end(), report))
}
