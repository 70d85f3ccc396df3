//! Our numbers held against published ones: every figure that reference data tells, recomputed and compared.
//!
//! [`verify`] takes a folder with one folder for each benchmark (`alpaca_eval`, `arena_hard`, `mt_bench`,
//! `real_toxicity_prompts`, `rubric_judgments`, `toxicity_classifier`), each with its expected numbers beside its data, and two of
//! prompts (`bench_sources`, `preferences`). Which models are checked is what those files list.

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

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What it is, or what went wrong before it could be computed.
    pub what: String,
    /// What we compute; null if we could not.
    pub value: Value,
    /// What it must be.
    pub must: Value,
    /// How far it may be off; 0 for exact.
    pub tolerance: f64,
    /// Whether it is.
    pub ok: bool,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, must, tolerance, .. } = self;
        if value.is_null() { f.write_str(what) } else { write!(f, "{what} is {value}, must be {must} (tolerance {tolerance})") }
    }
}

/// Recomputes everything that the folder tells. A file that is absent or broken is a failed check, and the rest goes on.
pub fn verify(data: &Path) -> Vec<Check> {
    type Part = (&'static str, fn(&Path, &mut Checks) -> Result<()>);
    const PARTS: [Part; 11] = [
        ("AlpacaEval", alpaca_eval::models),
        ("AlpacaEval, stored weights", alpaca_eval::stored_weights),
        ("MT-Bench", judged::mt_bench),
        ("Arena-Hard", judged::arena_hard),
        ("rubrics", judged::rubrics),
        ("RealToxicityPrompts", toxicity::generations),
        ("toxicity classifier", toxicity::classifier),
        ("judges' prompts", prompts::fingerprints),
        ("questions", sources::questions),
        ("prompt pool", sources::pool),
        ("layouts", sources::layouts),
    ];
    let mut checks = Checks::default();
    for (name, part) in PARTS {
        let before = checks.0.len();
        let problem = match part(data, &mut checks) {
            Err(error) => error.to_string(),
            Ok(()) if checks.0.len() == before => "the files name nothing to check".into(),
            Ok(()) => continue,
        };
        checks.0.push(Check { what: format!("{name}: {problem}"), value: Value::Null, must: Value::Null, tolerance: 0.0, ok: false });
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
