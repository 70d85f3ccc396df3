//! Recomputes the published numbers of the benchmarks from their own data, and compares.
//!
//! [`verify`] takes a folder with one folder for each benchmark (`alpaca_eval`, `arena_hard`, `mt_bench`,
//! `real_toxicity_prompts`, `rubric_judgments`, `toxicity_classifier`), each with its expected numbers beside
//! its data, and two of prompts (`bench_sources`, `preferences`). Which models are checked is what those
//! files list.

mod alpaca_eval;
mod judged;
mod prompts;
mod sources;
mod toxicity;

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::Result;

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What it is, or what went wrong before it could be computed.
    pub what: String,
    /// What this crate computes; null if it could not be computed.
    pub value: Value,
    /// What it must be.
    pub must: Value,
    /// Largest difference allowed; 0 if the value must be equal.
    pub tolerance: f64,
    /// Whether it is within the tolerance.
    pub ok: bool,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, must, tolerance, .. } = self;
        if value.is_null() {
            f.write_str(what)
        } else {
            write!(f, "{what} is {value}, must be {must} (tolerance {tolerance})")
        }
    }
}

/// Recomputes every published number of the folder. A file that is absent or broken is a failed check, and so
/// is a part that has fewer numbers than the published data; the other parts are still checked.
pub fn verify(data: &Path) -> Vec<Check> {
    type Part = fn(&Path, &mut Checks) -> Result<()>;
    // With how many numbers the published data have.
    const PARTS: [(&str, Part, usize); 11] = [
        ("AlpacaEval", alpaca_eval::models, 92),
        ("AlpacaEval, stored weights", alpaca_eval::stored_weights, 7),
        ("MT-Bench", judged::mt_bench, 61),
        ("Arena-Hard", judged::arena_hard, 22),
        ("rubrics", judged::rubrics, 64),
        ("RealToxicityPrompts", toxicity::generations, 21),
        ("toxicity classifier", toxicity::classifier, 24),
        ("judges' prompts", prompts::fingerprints, 4),
        ("questions", sources::questions, 5),
        ("prompt pool", sources::pool, 7),
        ("layouts", sources::layouts, 10),
    ];
    let mut checks = Checks::default();
    for (name, part, published) in PARTS {
        let before = checks.0.len();
        let result = part(data, &mut checks);
        let found = checks.0.len() - before;
        let problem = match result {
            Err(error) => error.to_string(),
            Ok(()) if found < published => {
                format!("{found} numbers to check, the published data have {published}")
            }
            Ok(()) => continue,
        };
        checks.0.push(Check {
            what: format!("{name}: {problem}"),
            value: Value::Null,
            must: Value::Null,
            tolerance: 0.0,
            ok: false,
        });
    }
    checks.0
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    /// A number that may be off by a tolerance.
    fn close(&mut self, what: impl Into<String>, value: f64, must: f64, tolerance: f64) {
        let ok = (value - must).abs() <= tolerance;
        self.0.push(Check { what: what.into(), value: value.into(), must: must.into(), tolerance, ok });
    }

    /// A value that must be equal.
    fn exact(&mut self, what: impl Into<String>, value: impl Into<Value>, must: impl Into<Value>) {
        let (value, must) = (value.into(), must.into());
        let ok = value == must;
        self.0.push(Check { what: what.into(), value, must, tolerance: 0.0, ok });
    }
}
