//! `cargo xtask eval arena-hard`: win rate on hard questions.

use std::path::PathBuf;

use janus_eval::bench::arena_hard::Resampling;
use janus_eval::results::ArenaHardResult;

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome};

/// Score of Arena-Hard-Auto v0.1 against gpt-4-0314
///
/// Two intervals: the published one, which resamples single battles, and one that resamples questions.
///
/// Reads:   BATTLES: rows of {question_id, outcomes}, outcomes a text of one letter a battle: a the baseline
///          wins, b the model wins, t a tie; a significant verdict stands three times.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval arena-hard
///          --battles ../shared/data/arena_hard/battles/gpt-3.5-turbo-0125.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The battles of one model
    #[arg(long, value_name = "BATTLES")]
    battles: PathBuf,
    /// Resamples of the published interval
    #[arg(long, value_name = "N", default_value_t = 100)]
    rounds: usize,
    /// Seed of both intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let resampling = Resampling { rounds: args.rounds, seed: args.seed };
    outcome("eval arena-hard", &ArenaHardResult::of_file(&args.battles, resampling).bad_input()?)
}
