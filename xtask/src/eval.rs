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

use janus_eval::Interval;
use serde::Serialize;
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

/// The report of a command: its name, then the fields of each part on one level.
fn flat(command: &str, parts: &[&dyn Part]) -> Result<Value, CommandError> {
    let mut report = Map::from_iter([("command".to_string(), json!(command))]);
    for part in parts {
        if let Value::Object(fields) = part.value().failure()? {
            report.extend(fields);
        }
    }
    Ok(Value::Object(report))
}

/// Anything that is an object in JSON.
trait Part {
    fn value(&self) -> serde_json::Result<Value>;
}

impl<T: Serialize> Part for T {
    fn value(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

/// An interval as two flat fields.
fn ends(name: &str, interval: Option<&Interval>) -> Value {
    json!({ format!("{name}_low"): interval.map(|i| i.low), format!("{name}_high"): interval.map(|i| i.high) })
}

/// An interval behind an estimate, for people.
fn shown(interval: Option<&Interval>, digits: usize) -> String {
    interval.map(|i| format!(" [{:.digits$}, {:.digits$}]", i.low, i.high)).unwrap_or_default()
}

/// The interval of a sample; none for a single row or cluster, which has nothing to resample.
fn interval(sample: &janus_eval::Sample, seed: u64) -> Result<Option<Interval>, CommandError> {
    match (janus_eval::Bootstrap { seed, ..janus_eval::Bootstrap::default() }).mean(sample) {
        Err(janus_eval::Error::TooFewUnits { .. }) => Ok(None),
        interval => interval.map(Some).bad_input(),
    }
}
