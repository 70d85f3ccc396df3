//! `cargo xtask bench`: speed on this machine.

mod eval;

use crate::command::{CommandError, Outcome};

/// Measure speed on this machine
///
/// Reads:   what is measured; each has its own help.
/// Writes:  nothing; the figures go to stdout.
/// Example: cargo xtask bench eval --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    Eval(eval::Args),
}

/// Runs the command.
///
/// # Errors
/// Bad input for what cannot be measured.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Eval(args) => eval::run(args),
    }
}
