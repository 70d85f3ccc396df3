//! A judged run in a folder, and the report that compares several.
//!
//! A run folder stands by itself: what was judged, every verdict with the judge's words, and the result in one typed
//! file, `judged.json`, which begins with a [`RunHead`] whatever the protocol is. Equal runs have equal bytes; what differs from
//! time to time is elsewhere. [`RubricRun`] is a run against rubrics, [`CaseRun`] one by any protocol whose rows are
//! [`JudgedCase`](crate::protocol::JudgedCase)s; [`Run::read`] takes a folder of either, those of earlier formats included, and [`compare`] makes
//! the report on one run or several.

mod case;
mod case_report;
mod curves;
mod old;
mod published;
mod rubric;
mod rubric_report;

use std::path::Path;

use janus_data::write_file;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use case::{CaseResult, CaseRun, CaseScore, PairTally};
pub use curves::{best_of_n_figure, generalisation_figure};
pub(crate) use published::prompt_fingerprints;
pub use rubric::{DimensionScore, RubricResult, RubricRun};

use crate::join::Missing;
use crate::judge::Counts;
use crate::protocol::{JudgeSettings, ProtocolInfo};
use crate::report::Report;
use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result};

/// What `format` says in a result's file.
const RUN_FORMAT: &str = "janus-run";

/// What `version` says. It changes whenever a reader of the last version would misread the new one.
const RUN_VERSION: u32 = 2;

/// The file of a run folder that holds the result, whatever the protocol is.
const RESULT_FILE: &str = "judged.json";

/// What every result says first: what it is, who was judged, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHead {
    /// `janus-run`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// How it was judged.
    pub protocol: ProtocolInfo,
    /// The judged model's name.
    pub model: String,
    /// Its opponent's or the baseline's, if there is one.
    pub opponent: Option<String>,
    /// What it was judged with.
    pub settings: JudgeSettings,
    /// How many calls had which result.
    pub counts: Counts,
    /// Rows of the run.
    pub rows: usize,
    /// Rows of the bench without an answer to judge.
    pub missing: Missing,
}

/// A run of any protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// Against rubrics.
    Rubric(RubricRun),
    /// By a protocol whose rows are judged cases.
    Cases(CaseRun),
}

impl Run {
    /// Reads a run folder, whatever the protocol is.
    ///
    /// # Errors
    /// [`Error::RunFile`], [`Error::File`] for a file that cannot be read, is of another format or version, or does not fit the others.
    pub fn read(folder: &Path) -> Result<Self> {
        // Only scores against rubrics are read by a rule; a name is whatever a protocol of one's own has.
        let result: Value = read_result(folder)?;
        if result.get("reader").is_some() { RubricRun::read(folder).map(Self::Rubric) } else { CaseRun::read(folder).map(Self::Cases) }
    }

    /// What its result says first.
    pub fn head(&self) -> &RunHead {
        match self {
            Self::Rubric(run) => &run.result.head,
            Self::Cases(run) => &run.result.head,
        }
    }
}

impl From<RubricRun> for Run {
    fn from(run: RubricRun) -> Self {
        Self::Rubric(run)
    }
}

impl From<CaseRun> for Run {
    fn from(run: CaseRun) -> Self {
        Self::Cases(run)
    }
}

/// The report on one run, or on several side by side: those against rubrics first, which are of one bench, then the others by
/// protocol. At most `shown` rows can be read in each part, evenly spread.
///
/// # Errors
/// [`Error::Empty`] without a run, [`Error::RowMismatch`] if the runs against rubrics are not of the same bench.
pub fn compare(runs: impl IntoIterator<Item = impl Into<Run>>, shown: usize) -> Result<Report> {
    let (mut rubrics, mut cases) = (Vec::new(), Vec::new());
    for run in runs {
        match run.into() {
            Run::Rubric(run) => rubrics.push(run),
            Run::Cases(run) => cases.push(run),
        }
    }
    match (rubrics.is_empty(), cases.is_empty()) {
        (true, _) => case_report::compare_cases(&cases, shown),
        (false, true) => rubric_report::compare_rubrics(&rubrics, shown),
        (false, false) => {
            let mut report = rubric_report::compare_rubrics(&rubrics, shown)?;
            report.title = "Judged runs".into();
            report.sections.extend(case_report::compare_cases(&cases, shown)?.sections);
            Ok(report)
        }
    }
}

fn content(path: &Path, problem: impl ToString) -> Error {
    Error::RunFile { path: path.into(), problem: problem.to_string() }
}

/// The result of a folder, or a part of it.
fn read_result<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let path = folder.join(RESULT_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| content(&path, error))?;
    let result = serde_json::from_str(&text).map_err(|error| content(&path, error))?;
    let result = old::upgraded(result).map_err(|problem| content(&path, problem))?;
    serde_json::from_value(result).map_err(|error| content(&path, error))
}

fn write_result(folder: &Path, result: &impl Serialize) -> Result<()> {
    let path = folder.join(RESULT_FILE);
    let text = serde_json::to_string_pretty(result).map_err(|error| content(&path, error))?;
    Ok(write_file(path, (text + "\n").as_bytes())?)
}

/// The interval of a mean over values that are resampled by question; `None` without a value or for one question.
fn interval<'a>(bootstrap: &Bootstrap, values: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Option<Interval>> {
    let interval = Sample::clustered(values).and_then(|sample| bootstrap.mean(&sample));
    match interval {
        Err(Error::TooFewUnits { .. } | Error::Empty { .. }) => Ok(None),
        interval => interval.map(Some),
    }
}
