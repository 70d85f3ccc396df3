//! `cargo xtask data`: reads, checks, describes, cleans and makes preference data.

mod build_mini;
mod construct;
mod contamination;
mod convert;
mod dedup;
mod fetch;
mod inspect;
mod mix;
mod pack;
mod rows;
mod stats;
mod validate;

pub(crate) use rows::FilesArgs;

use crate::command::{CommandError, Outcome};

/// Read, check, clean and make preference data
///
/// Reads:   .json, .jsonl, .csv, .parquet and .arrow files, each also .gz or .zst; several by a pattern in quotes.
/// Writes:  what each subcommand says; files appear whole or not at all.
/// Example: cargo xtask data construct --instructions prompts.jsonl --model models/smollm2-135m-instruct-q4_1.gguf
///          --out collection
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    BuildMini(build_mini::Args),
    Fetch(fetch::Args),
    Convert(convert::Args),
    Validate(validate::Args),
    Inspect(inspect::Args),
    Stats(stats::Args),
    Dedup(dedup::Args),
    Contamination(contamination::Args),
    Mix(mix::Args),
    Construct(Box<construct::Args>),
    Pack(pack::Args),
}

/// Runs the command.
///
/// # Errors
/// Those of the subcommand.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.work {
        Work::BuildMini(args) => build_mini::run(args),
        Work::Fetch(args) => fetch::run(args),
        Work::Convert(args) => convert::run(args),
        Work::Validate(args) => validate::run(args),
        Work::Inspect(args) => inspect::run(args),
        Work::Stats(args) => stats::run(args),
        Work::Dedup(args) => dedup::run(args),
        Work::Contamination(args) => contamination::run(args),
        Work::Mix(args) => mix::run(args),
        Work::Construct(args) => construct::run(args),
        Work::Pack(args) => pack::run(args),
    }
}
