//! `cargo xtask bench eval`: how long the benchmarks' numbers take to compute.

use std::path::PathBuf;

use janus_eval::throughput::Throughput;
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome, report};

/// Each metric with what it times, and its target in milliseconds.
const METRICS: [(&str, &str, Option<f64>); 6] = [
    ("lc_cv", "length-controlled win rate with cross-validation", Some(50.0)),
    ("lc_cv_liblinear", "the same with the official code's optimiser", None),
    ("preferences", "805 annotations converted to preferences", None),
    ("arena_bootstrap", "1,000 bootstrap rounds of Arena-Hard", Some(1_000.0)),
    ("rubric_parse", "100,000 rubric answers parsed", Some(100.0)),
    ("classifier", "240 generations scored by the toxicity classifier", None),
];

/// Measure how long the benchmarks' numbers take to compute
///
/// Each result is the median of several runs, in milliseconds, with the data in
/// memory: the length-controlled win rate of one model with cross-validation (50
/// fits and a final one), by both optimisers; annotations converted to preferences;
/// 1,000 bootstrap rounds of Arena-Hard; 100,000 texts of a judge parsed; 240
/// generations scored by the toxicity classifier.
///
/// Reads:   DATA: alpaca_eval, arena_hard, rubric_judgments, real_toxicity_prompts,
///          toxicity_classifier.
/// Writes:  nothing; the results go to stdout.
/// Example: cargo xtask bench eval --data DATA --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Folder of the benchmarks' data
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Runs of each measurement
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut results = report("bench eval", Throughput::measure(&args.data, args.runs).bad_input()?)?;
    let mut lines = Vec::new();
    for (name, what, target) in METRICS {
        let milliseconds = results[format!("{name}_ms")].as_f64().unwrap_or_default();
        let mut shown = String::new();
        if let Some(target) = target {
            shown = format!(" (target: {target})");
            results[format!("{name}_wanted_ms")] = json!(target);
        }
        lines.push(format!("{milliseconds:9.3} ms  {what}{shown}"));
    }
    results["runs"] = json!(args.runs);
    Ok(Outcome::done(lines.join("\n"), results))
}
