//! `cargo xtask eval rubric`: means and pairs from rubric judgments.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::Bootstrap;
use janus_eval::bench::multifaceted::{RubricReport, RubricRow};

use super::{flat, of_file, shown};
use crate::command::{Blame as _, CommandError, Outcome};

/// Means, runs and pairwise counts from judgments against rubrics
///
/// Reads:   JUDGMENTS: rows of {idx, model, scores}, scores a list of one score (1 to 5, or null) for each
///          run; category is optional, other fields are ignored.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval rubric
///          --judgments ../shared/data/rubric_judgments/vicuna_eval.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The judgments of one or more models
    #[arg(long, value_name = "JUDGMENTS")]
    judgments: PathBuf,
    /// Seed of the bootstrap over rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for a file that cannot be read, or models that did not answer the same prompts.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let rows: Vec<RubricRow> = read_all(&args.judgments).bad_input()?;
    let bootstrap = Bootstrap { seed: args.seed, ..Bootstrap::default() };
    let report = of_file(&args.judgments, RubricReport::of(&rows, &bootstrap))?;
    let mut text = String::new();
    for model in &report.absolute {
        let runs: Vec<String> = model.run_means.iter().map(|run| run.map_or("none".into(), |run| format!("{run:.3}"))).collect();
        text += &format!(
            "{:20} {:.4}{} (runs {}; {} rows, {} missing)\n",
            model.model,
            model.mean,
            shown(model.interval.as_ref(), 3),
            runs.join(", "),
            model.items,
            model.missing
        );
    }
    for pair in &report.pairwise {
        text += &format!(
            "{} against {}: {} wins, {} ties ({} of good answers), {} losses; tie+win {:.1} %\n",
            pair.a, pair.b, pair.win, pair.tie, pair.both_good, pair.loss, pair.tie_win_rate_both_good
        );
    }
    Ok(Outcome::done(text.trim_end(), flat("eval rubric", &[&report])?))
}
