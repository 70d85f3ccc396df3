//! `cargo xtask judge`: a language model judges responses.

mod alpaca_eval;
mod arena_hard;
mod folder;
mod mt_bench;
mod pairwise;
mod rubric;
mod service;

use crate::command::{CommandError, Outcome};

/// Let a language model judge responses
///
/// The judge is any service that speaks the OpenAI protocol: OPENAI_BASE_URL says where it is,
/// OPENAI_API_KEY is its key. Every answer is kept in the run folder before it is used, so a run that
/// was cut off, or that left scores missing, asks only what is missing when its command is repeated.
///
/// Reads:   a bench and the responses to it.
/// Writes:  a run folder with scores, judgments and report.
/// Example: cargo xtask judge rubric --bench bench.jsonl --responses responses.jsonl
///          --judge gpt-4-0125-preview --out runs/judged-mine --dry-run
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, clap::Subcommand)]
enum Protocol {
    Rubric(Box<rubric::Args>),
    Pairwise(Box<pairwise::Args>),
    MtBench(Box<mt_bench::Args>),
    ArenaHard(Box<arena_hard::Args>),
    AlpacaEval(Box<alpaca_eval::Args>),
}

/// Runs the command.
///
/// # Errors
/// Bad input for files or settings that cannot be used; a failure if a file cannot be written.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.protocol {
        Protocol::Rubric(args) => rubric::run(args),
        Protocol::Pairwise(args) => pairwise::run(args),
        Protocol::MtBench(args) => mt_bench::run(args),
        Protocol::ArenaHard(args) => arena_hard::run(args),
        Protocol::AlpacaEval(args) => alpaca_eval::run(args),
    }
}
