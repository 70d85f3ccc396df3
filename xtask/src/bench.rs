//! `cargo xtask bench`: speed and memory on this machine, beside what its matrix products reach.

mod train;

use crate::command::{CommandError, Outcome};

/// Measure speed and memory on this machine
///
/// Reads:   nothing; models have random weights.
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
}

/// Runs the command.
///
/// # Errors
/// Bad input for sizes that cannot be measured, a failure if a step fails.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Train(args) => train::run(args),
    }
}
