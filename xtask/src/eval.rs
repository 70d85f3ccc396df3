//! `cargo xtask eval`: what responses and judgments come to, benchmark by benchmark.

mod ablations;
mod alpaca_eval;
mod arena_hard;
mod bias;
mod collection;
mod distinctness;
mod mini;
mod mt_bench;
mod mt_bench_pairs;
mod rubric;
mod toxicity;
mod verify;

use std::path::Path;

use janus_eval::results::Evaluation;
use serde_json::{Map, Value, json};

use crate::command::{Blame as _, CommandError, Outcome};

/// Compute a benchmark's numbers from responses or judgments
///
/// Reads:   the files of a benchmark; each has its own help.
/// Writes:  nothing; the numbers go to stdout, with --json as one object.
/// Example: cargo xtask eval mini --bench bench.jsonl --responses responses.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the benchmarks' own names")]
enum Bench {
    Mini(mini::Args),
    AlpacaEval(alpaca_eval::Args),
    ArenaHard(arena_hard::Args),
    MtBench(mt_bench::Args),
    MtBenchPairs(mt_bench_pairs::Args),
    Toxicity(toxicity::Args),
    Rubric(rubric::Args),
    Distinctness(distinctness::Args),
    Ablations(ablations::Args),
    Collection(collection::Args),
    Bias(bias::Args),
    Verify(verify::Args),
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Mini(args) => mini::run(args),
        Bench::AlpacaEval(args) => alpaca_eval::run(args),
        Bench::ArenaHard(args) => arena_hard::run(args),
        Bench::MtBench(args) => mt_bench::run(args),
        Bench::MtBenchPairs(args) => mt_bench_pairs::run(args),
        Bench::Toxicity(args) => toxicity::run(args),
        Bench::Rubric(args) => rubric::run(args),
        Bench::Distinctness(args) => distinctness::run(args),
        Bench::Ablations(args) => ablations::run(args),
        Bench::Collection(args) => collection::run(args),
        Bench::Bias(args) => bias::run(args),
        Bench::Verify(args) => verify::run(args),
    }
}

/// Where reference data lies if nothing else is said.
const DATA: &str = "../shared/data";

/// What the library says of rows, with the file that they come from.
fn of_file<T>(path: &Path, result: janus_eval::Result<T>) -> Result<T, CommandError> {
    result.bad_input().map_err(|error| error.at(path.display()))
}

/// The result for people, or with --json its numbers.
fn outcome(command: &str, evaluation: &impl Evaluation) -> Result<Outcome, CommandError> {
    Ok(Outcome::done(evaluation.to_string(), report(command, evaluation)?))
}

/// The name of a command, then its numbers.
fn report(command: &str, evaluation: &impl Evaluation) -> Result<Value, CommandError> {
    let mut report = Map::from_iter([("command".to_string(), json!(command))]);
    report.extend(evaluation.to_json().failure()?);
    Ok(Value::Object(report))
}
