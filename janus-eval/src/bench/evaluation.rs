//! The common form of all benchmarks' metrics: text for people, JSON for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result};

/// The metrics of a benchmark: `Display` is for people, [`numbers`](Self::numbers) for programs.
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
    /// The metrics as one flat object, under the names that the benchmark's own files use.
    pub numbers: Map<String, Value>,
    text: String,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The metrics of one benchmark; `Display` is the text of the [`Evaluation`].
pub(crate) trait Numbers: fmt::Display {
    /// The metrics of the [`Evaluation`].
    fn numbers(&self) -> Result<Map<String, Value>>;

    /// The metrics and the text.
    fn evaluation(&self) -> Result<Evaluation> {
        Ok(Evaluation { numbers: self.numbers()?, text: self.to_string() })
    }
}

/// Merges objects into one flat object.
pub(super) fn flat<const N: usize>(parts: [Result<Value>; N]) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    for part in parts {
        if let Value::Object(part) = part? {
            fields.extend(part);
        }
    }
    Ok(fields)
}

/// An object for [`flat`].
pub(super) fn part(part: &impl Serialize) -> Result<Value> {
    serde_json::to_value(part).map_err(|error| Error::ReportFile { problem: error.to_string() })
}

/// The ends of an interval as two fields, `NAME_low` and `NAME_high`.
pub(super) fn ends(name: &str, interval: Option<&Interval>) -> Result<Value> {
    Ok(
        json!({ format!("{name}_low"): interval.map(|i| i.low), format!("{name}_high"): interval.map(|i| i.high) }),
    )
}

/// The text of an interval, to follow an estimate; empty without an interval.
pub(super) fn shown(interval: Option<&Interval>, digits: usize) -> String {
    interval.map(|i| format!(" [{:.digits$}, {:.digits$}]", i.low, i.high)).unwrap_or_default()
}

/// The interval of a sample; `None` for a single row or cluster, which cannot be resampled.
pub(super) fn interval(sample: &Sample, seed: u64) -> Result<Option<Interval>> {
    match (Bootstrap { seed, ..Bootstrap::default() }).mean(sample) {
        Err(Error::TooFewUnits { .. }) => Ok(None),
        interval => interval.map(Some),
    }
}

/// Adds the path of the rows' file to an error.
pub(super) fn in_file<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::File(_) => error,
        error => Error::InFile { path: path.into(), error: Box::new(error) },
    })
}
