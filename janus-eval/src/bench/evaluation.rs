//! What the numbers of a benchmark have in common: a form for people, and one for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result};

/// The numbers of a benchmark: `Display` is for people, [`numbers`](Self::numbers) for programs.
///
/// ```no_run
/// use janus_eval::bench::arena_hard;
///
/// let score = arena_hard::evaluate("battles.jsonl", arena_hard::Resampling::default())?;
/// println!("{score}");
/// assert!(score.numbers["score"].as_f64() > Some(50.0));
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The numbers on one level, by the names that the benchmark's own files have.
    pub numbers: Map<String, Value>,
    text: String,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a benchmark computed; its `Display` is the text of the [`Evaluation`].
pub(crate) trait Numbers: fmt::Display {
    /// The numbers of the [`Evaluation`].
    fn numbers(&self) -> Result<Map<String, Value>>;

    /// Both.
    fn evaluation(&self) -> Result<Evaluation> {
        Ok(Evaluation { numbers: self.numbers()?, text: self.to_string() })
    }
}

/// The fields of each part on one level.
pub(super) fn flat<const N: usize>(parts: [Result<Value>; N]) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    for part in parts {
        if let Value::Object(part) = part? {
            fields.extend(part);
        }
    }
    Ok(fields)
}

pub(super) fn part(part: &impl Serialize) -> Result<Value> {
    serde_json::to_value(part).map_err(|error| Error::ReportFile { problem: error.to_string() })
}

/// An interval as two flat fields.
pub(super) fn ends(name: &str, interval: Option<&Interval>) -> Result<Value> {
    Ok(json!({ format!("{name}_low"): interval.map(|i| i.low), format!("{name}_high"): interval.map(|i| i.high) }))
}

/// An interval behind an estimate, for people.
pub(super) fn shown(interval: Option<&Interval>, digits: usize) -> String {
    interval.map(|i| format!(" [{:.digits$}, {:.digits$}]", i.low, i.high)).unwrap_or_default()
}

/// The interval of a sample; `None` for a single row or cluster, which has nothing to resample.
pub(super) fn interval(sample: &Sample, seed: u64) -> Result<Option<Interval>> {
    match (Bootstrap { seed, ..Bootstrap::default() }).mean(sample) {
        Err(Error::TooFewUnits { .. }) => Ok(None),
        interval => interval.map(Some),
    }
}

/// An error of rows with the file that they come from.
pub(super) fn in_file<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::File(_) => error,
        error => Error::InFile { path: path.into(), error: Box::new(error) },
    })
}
