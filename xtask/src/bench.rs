//! `cargo xtask bench`: speed and memory on this machine.

mod data;
mod eval;
mod infer;
mod near_duplicates;
mod optim;
mod train;

use crate::command::{CommandError, Outcome};

/// Measure speed and memory on this machine
///
/// Reads:   what is measured; each has its own help.
/// Writes:  nothing; the figures go to stdout.
/// Example: cargo xtask bench train --config m6m --seq 256 --batch 16 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    Train(train::Args),
    Infer(infer::Args),
    Optim(optim::Args),
    Eval(eval::Args),
    Data(data::Args),
    NearDuplicates(near_duplicates::Args),
}

/// Runs the command.
///
/// # Errors
/// Bad input for what cannot be measured, a failure if the work fails.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Train(args) => train::run(args),
        Bench::Infer(args) => infer::run(args),
        Bench::Optim(args) => optim::run(args),
        Bench::Eval(args) => eval::run(args),
        Bench::Data(args) => data::run(args),
        Bench::NearDuplicates(args) => near_duplicates::run(args),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

/// The most memory that the process has had, where the system tells (Linux).
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
