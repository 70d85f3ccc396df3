//! `cargo xtask bench`: speed and memory on this machine, beside what its matrix products reach.

mod data;

use crate::command::{CommandError, Outcome};

/// Measure speed and memory on this machine
///
/// Reads:   nothing; data is generated.
/// Writes:  nothing; the figures go to stdout.
/// Example: cargo xtask bench data --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    Data(data::Args),
}

/// Runs the command.
///
/// # Errors
/// Bad input for sizes that cannot be measured, a failure if a step fails.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Data(args) => data::run(args),
    }
}
