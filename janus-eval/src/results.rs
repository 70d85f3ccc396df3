//! Results: from the files of a benchmark's responses or judgments to its numbers, for people (`Display`) and for programs
//! ([`Evaluation::to_json`]).
//!
//! ```no_run
//! use janus_eval::results::{ArenaHardResult, Evaluation};
//! use janus_eval::bench::arena_hard::Resampling;
//!
//! let result = ArenaHardResult::of_file("battles.jsonl", Resampling::default())?;
//! println!("{result}");
//! println!("{}", serde_json::Value::Object(result.to_json()?));
//! # Ok::<(), janus_eval::Error>(())
//! ```

mod ablations;
mod alpaca_eval;
mod arena_hard;
mod bias;
mod collection;
mod distinctness;
mod mini;
mod mt_bench;
mod rubric;
mod toxicity;

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use ablations::{AblationResult, AblationVariant};
pub use alpaca_eval::AlpacaEvalResult;
pub use arena_hard::ArenaHardResult;
pub use bias::BiasResult;
pub use collection::CollectionResult;
pub use distinctness::DistinctnessResult;
pub use mini::MiniResult;
pub use mt_bench::{MtBenchPairsResult, MtBenchResult};
pub use rubric::RubricResult;
pub use toxicity::{PerplexityResult, ToxicityResult};

use crate::{Bootstrap, Error, Interval, Result, Sample};

/// What an evaluation comes to. `Display` has it for people.
pub trait Evaluation: fmt::Display {
    /// The numbers on one level, by the names that the benchmark's own files have.
    ///
    /// # Errors
    /// [`Error::ReportFile`] for a value that JSON cannot hold.
    fn to_json(&self) -> Result<Map<String, Value>>;
}

/// The fields of each part on one level.
fn flat<const N: usize>(parts: [Result<Value>; N]) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    for part in parts {
        if let Value::Object(part) = part? {
            fields.extend(part);
        }
    }
    Ok(fields)
}

fn part(part: &impl Serialize) -> Result<Value> {
    serde_json::to_value(part).map_err(|error| Error::ReportFile { problem: error.to_string() })
}

/// An interval as two flat fields.
fn ends(name: &str, interval: Option<&Interval>) -> Result<Value> {
    Ok(json!({ format!("{name}_low"): interval.map(|i| i.low), format!("{name}_high"): interval.map(|i| i.high) }))
}

/// An interval behind an estimate, for people.
fn shown(interval: Option<&Interval>, digits: usize) -> String {
    interval.map(|i| format!(" [{:.digits$}, {:.digits$}]", i.low, i.high)).unwrap_or_default()
}

/// The interval of a sample; `None` for a single row or cluster, which has nothing to resample.
fn interval(sample: &Sample, seed: u64) -> Result<Option<Interval>> {
    match (Bootstrap { seed, ..Bootstrap::default() }).mean(sample) {
        Err(Error::TooFewUnits { .. }) => Ok(None),
        interval => interval.map(Some),
    }
}

/// An error of rows with the file that they come from.
fn in_file<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::File(_) => error,
        error => Error::InFile { path: path.into(), error: Box::new(error) },
    })
}
