//! `cargo xtask eval verify`: our numbers beside the published ones.

use std::path::PathBuf;

use super::DATA;
use crate::command::{Blame as _, CommandError, Outcome};

/// Recompute every published number that the reference data tells, and compare
///
/// Order coin, preferences, win rates and length control of AlpacaEval; ratings and prompts of MT-Bench;
/// labels, scores and intervals of Arena-Hard; rubric means and pairs; toxicity and its classifier.
///
/// Reads:   DATA: alpaca_eval, arena_hard, mt_bench, real_toxicity_prompts, rubric_judgments,
///          toxicity_classifier.
/// Writes:  nothing; the checks go to stdout. Exit code 1 if one fails or a file is absent.
/// Example: cargo xtask eval verify --data ../shared/data --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The folder of reference data
    #[arg(long, value_name = "DATA", default_value = DATA)]
    data: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// None but a report that cannot be written as JSON; what does not hold is a failed outcome.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let verification = janus_eval::verify::verify(&args.data);
    let report = serde_json::to_value(&verification).failure()?;
    let total = verification.checks.len();
    let off: Vec<String> = verification
        .checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| {
            if check.value.is_null() {
                check.what.clone()
            } else {
                format!("{} is {}, must be {} (tolerance {})", check.what, check.value, check.must, check.tolerance)
            }
        })
        .collect();
    if off.is_empty() {
        Ok(Outcome::done(format!("all {total} published numbers are reproduced"), report))
    } else {
        Ok(Outcome::failed(format!("{} of {total} checks failed: {}", off.len(), off.join("; ")), report))
    }
}
