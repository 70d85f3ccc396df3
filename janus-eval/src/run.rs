//! Folders of judged runs, and the report that compares runs.
//!
//! A run folder is self-contained: it has the judged texts, every verdict with the judge's text, and the
//! result in one file, `judged.json`, which begins with a [`RunHead`] for every protocol. Equal runs
//! have equal bytes: the folder has no timestamps. [`RubricRun`] is a run with
//! [`Rubrics`](crate::protocol::Rubrics). [`CaseRun`] is a run of any protocol whose rows are
//! [`JudgedCase`](crate::protocol::JudgedCase)s. [`Run::read`] reads a folder of either, also in earlier
//! formats, and [`compare`] makes the report on one or more runs.

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

/// The value of `format` in a result file.
const RUN_FORMAT: &str = "janus-run";

/// The value of `version`. It increases with every incompatible change of the format.
const RUN_VERSION: u32 = 2;

/// The result file of a run folder, for every protocol.
const RESULT_FILE: &str = "judged.json";

/// The first fields of every result: its format, the judged model, the judge and the counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHead {
    /// `janus-run`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The protocol.
    pub protocol: ProtocolInfo,
    /// The judged model's name.
    pub model: String,
    /// The name of the opponent or baseline, if there is one.
    pub opponent: Option<String>,
    /// The judge and its settings.
    pub settings: JudgeSettings,
    /// How many calls had which result.
    pub counts: Counts,
    /// Number of rows.
    pub rows: usize,
    /// Rows of the bench that have no answer to judge.
    pub missing: Missing,
}

/// A run of any protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// A run with [`Rubrics`](crate::protocol::Rubrics).
    Rubric(RubricRun),
    /// A run of a protocol whose rows are judged cases.
    Cases(CaseRun),
}

impl Run {
    /// Reads a run folder of any protocol.
    ///
    /// # Errors
    /// [`Error::RunFile`], [`Error::File`] for a file that cannot be read, has another format or
    /// version, or is inconsistent with the folder's other files.
    pub fn read(folder: &Path) -> Result<Self> {
        // Only rubric results have the field `reader`. The protocol's name does not decide, as users
        // choose it for their own protocols.
        let result: Value = read_result(folder)?;
        if result.get("reader").is_some() {
            RubricRun::read(folder).map(Self::Rubric)
        } else {
            CaseRun::read(folder).map(Self::Cases)
        }
    }

    /// The head of its result.
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

/// The report on one run, or on several side by side: first the rubric runs, which must be of one bench,
/// then the others by protocol. Each part shows the texts of at most `shown` rows, evenly spaced.
///
/// # Errors
/// [`Error::Empty`] without a run, [`Error::RowMismatch`] if the rubric runs are not of the same bench.
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

/// Reads the result of a folder, or a part of it.
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

/// The confidence interval of a mean, by bootstrap over questions; `None` if there are fewer than two
/// questions.
fn interval<'a>(
    bootstrap: &Bootstrap,
    values: impl IntoIterator<Item = (&'a str, f64)>,
) -> Result<Option<Interval>> {
    let interval = Sample::clustered(values).and_then(|sample| bootstrap.mean(&sample));
    match interval {
        Err(Error::TooFewUnits { .. } | Error::Empty { .. }) => Ok(None),
        interval => interval.map(Some),
    }
}
