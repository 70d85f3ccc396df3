//! `cargo xtask bench`: speed and memory on this machine.

mod data;
mod eval;
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
    Optim(optim::Args),
    Eval(eval::Args),
    Data(data::Args),
}

/// Runs the command.
///
/// # Errors
/// Bad input for what cannot be measured, a failure if the work fails.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Train(args) => train::run(args),
        Bench::Optim(args) => optim::run(args),
        Bench::Eval(args) => eval::run(args),
        Bench::Data(args) => data::run(args),
    }
}
