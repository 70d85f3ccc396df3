//! A judged run in a folder, and the report that compares several.
//!
//! A run folder stands by itself: what was judged, every verdict with the judge's words, and the result in one typed
//! file. Equal runs have equal bytes; what differs from time to time is elsewhere. [`JudgedRun`] is a run against
//! rubrics, [`VerdictRun`] one by any other protocol; [`read`] takes a folder of either.

mod compare;
mod curves;
mod published;
mod verdicts;

use std::path::{Path, PathBuf};

use janus_core::{BenchRecord, Dimension};
use janus_data::{read_all, write_all, write_file};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use compare::compare;
pub use curves::{best_of_n, generalisation};
pub use verdicts::{
    Judged, Outcomes, Protocol, Side, VERDICT_FILES, VERDICTS_FORMAT, VERDICTS_VERSION, VerdictCall, VerdictResult, VerdictRow, VerdictRun,
    VerdictScore, VerdictSettings, VerdictTurn, Verdicts, compare_verdicts,
};

use crate::join::{Missing, Response};
use crate::judge::{Counts, JudgedRow, RubricJudgement, RubricSettings};
use crate::{Bootstrap, Error, Interval, Sample, ScoreSummary, ScoredRow, pool, record_id, summarise};

/// What `format` says in a result's file.
pub const RUN_FORMAT: &str = "janus-judged";

/// What `version` says. It changes whenever a reader of the last version would misread the new one.
pub const RUN_VERSION: u32 = 1;

/// The file of a run folder that holds the result, whatever the protocol is.
pub const RESULT_FILE: &str = "judged.json";

/// The files of a run folder that [`JudgedRun::read`] needs: the result, the bench, the responses, the judgments.
pub const RUN_FILES: [&str; 4] = [RESULT_FILE, "bench.jsonl", "responses.jsonl", "judgments.jsonl"];

/// The result of judging one model's responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`RUN_FORMAT`].
    pub format: String,
    /// [`RUN_VERSION`].
    pub version: u32,
    /// The judged model's name.
    pub model: String,
    /// How it was judged.
    pub settings: RubricSettings,
    /// How many calls came to what.
    pub counts: Counts,
    /// Scores that were read from a mere mention.
    pub fallbacks: usize,
    /// Records of the bench.
    pub records: usize,
    /// Records without a response.
    pub missing: Missing,
    /// The means; none if there is no score at all.
    pub summary: Option<ScoreSummary>,
    /// Interval of the mean over rows, by bootstrap over instructions; none for a single instruction.
    pub interval: Option<Interval>,
    /// The mean of each dimension, where the records say which rubric belongs to which.
    pub dimensions: Vec<DimensionScore>,
}

/// The mean score of one preference dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DimensionScore {
    /// The dimension.
    pub dimension: Dimension,
    /// Mean over rows, each averaged over its runs.
    pub mean: f64,
    /// Its interval, by bootstrap over instructions; none for a single one.
    pub interval: Option<Interval>,
    /// Rows.
    pub n: usize,
}

/// A judged run with everything behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedRun {
    /// The result.
    pub result: RunResult,
    /// The bench.
    pub records: Vec<BenchRecord>,
    /// The responses.
    pub responses: Vec<Response>,
    /// The judged rows, in the bench's order.
    pub rows: Vec<JudgedRow>,
}

/// What keeps a run folder from being read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file.
    #[error(transparent)]
    File(#[from] janus_data::Error),
    /// A file that is not of this format, or does not fit the others.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl JudgedRun {
    /// A run from what a judge made of a model's responses; `seed` is that of the intervals.
    ///
    /// # Errors
    /// Those of [`pool`] for rows that do not fit together.
    pub fn new(
        model: impl Into<String>,
        records: Vec<BenchRecord>,
        responses: Vec<Response>,
        judgement: RubricJudgement,
        seed: u64,
    ) -> Result<Self, Error> {
        let runs = judgement.runs();
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        let summary = match summarise(&runs) {
            Err(Error::Empty { .. }) => None,
            summary => Some(summary?),
        };
        let pooled = pool(&runs)?;
        let means = pooled.iter().zip(&records).filter_map(|(row, record)| Some((record.prompt.as_str(), row.mean()?)));
        let interval = interval(&bootstrap, means)?;
        let mut dimensions = Vec::new();
        for dimension in Dimension::ALL {
            let values: Vec<(&str, f64)> = dimension_means(&records, &judgement.rows, dimension).collect();
            if values.is_empty() {
                continue;
            }
            let (n, mean) = (values.len(), values.iter().map(|(_, mean)| mean).sum::<f64>() / values.len() as f64);
            dimensions.push(DimensionScore { dimension, mean, interval: self::interval(&bootstrap, values)?, n });
        }
        let result = RunResult {
            format: RUN_FORMAT.into(),
            version: RUN_VERSION,
            model: model.into(),
            settings: judgement.settings,
            counts: judgement.counts,
            fallbacks: judgement.fallbacks,
            records: records.len(),
            missing: judgement.missing,
            summary,
            interval,
            dimensions,
        };
        Ok(Self { result, records, responses, rows: judgement.rows })
    }

    /// Writes [`RUN_FILES`] into a folder.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        let [result, bench, responses, judgments] = RUN_FILES.map(|name| folder.join(name));
        write_all(bench, &self.records)?;
        write_all(responses, &self.responses)?;
        write_all(judgments, &self.rows)?;
        write_result(&result, &self.result)
    }

    /// Reads a folder that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`RunError`] for a file that cannot be read, is of another format or version, or does not fit the bench.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let [result, bench, responses, judgments] = RUN_FILES.map(|name| folder.join(name));
        let found: RunResult = read_result(&result, RUN_FORMAT, RUN_VERSION)?;
        let run = Self { result: found, records: read_all(bench)?, responses: read_all(responses)?, rows: read_all(&judgments)? };
        for (index, record) in run.records.iter().enumerate() {
            let (id, rubrics) = (record_id(record, index), record.rubrics.len());
            let row = run.rows.get(index).filter(|row| row.id == id);
            let fits = row.is_some_and(|row| row.runs.iter().all(|replies| replies.len() == rubrics));
            if !fits {
                return Err(content(&judgments, format!("row {}: expected the judgment of \"{id}\" with {rubrics} rubrics", index + 1)));
            }
        }
        if run.rows.len() != run.records.len() {
            return Err(content(&judgments, format!("it has {} rows, the bench {}", run.rows.len(), run.records.len())));
        }
        Ok(run)
    }

    /// The scores of each run.
    pub fn runs(&self) -> Vec<Vec<ScoredRow>> {
        let rows = |run| {
            let row = |(row, record): (&JudgedRow, &BenchRecord)| row.scored(run, record.rubrics.len());
            self.rows.iter().zip(&self.records).map(row).collect()
        };
        (0..self.result.settings.runs).map(rows).collect()
    }
}

/// A run of any protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// Against rubrics.
    Rubric(JudgedRun),
    /// By any other protocol.
    Verdicts(VerdictRun),
}

/// Reads a run folder, whatever the protocol is.
///
/// # Errors
/// Those of [`JudgedRun::read`] and [`VerdictRun::read`].
pub fn read(folder: &Path) -> Result<Run, RunError> {
    let head = read_head(&folder.join(RESULT_FILE))?.1;
    if head.format == VERDICTS_FORMAT { VerdictRun::read(folder).map(Run::Verdicts) } else { JudgedRun::read(folder).map(Run::Rubric) }
}

/// What every result says of itself first.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

fn content(path: &Path, problem: String) -> RunError {
    RunError::Content { path: path.into(), problem }
}

/// A result's text, and what it is.
fn read_head(path: &Path) -> Result<(String, Head), RunError> {
    let text = std::fs::read_to_string(path).map_err(|error| content(path, error.to_string()))?;
    let head = serde_json::from_str(&text).map_err(|error| content(path, error.to_string()))?;
    Ok((text, head))
}

fn read_result<T: DeserializeOwned>(path: &Path, format: &str, version: u32) -> Result<T, RunError> {
    let (text, head) = read_head(path)?;
    if (head.format.as_str(), head.version) != (format, version) {
        let problem = format!("it is {} version {}, expected {format} version {version}", head.format, head.version);
        return Err(content(path, problem));
    }
    serde_json::from_str(&text).map_err(|error| content(path, error.to_string()))
}

fn write_result(path: &Path, result: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(result).map_err(|error| content(path, error.to_string()))?;
    Ok(write_file(path, (text + "\n").as_bytes())?)
}

/// For each row with a score for the dimension, its instruction and the mean of that score over the runs.
fn dimension_means<'a>(records: &'a [BenchRecord], rows: &'a [JudgedRow], dimension: Dimension) -> impl Iterator<Item = (&'a str, f64)> {
    records.iter().zip(rows).filter_map(move |(record, row)| {
        let set = record.preference_set.as_ref()?;
        let rubric = set.iter().position(|preference| preference.dimension == dimension)?;
        let scores: Vec<f64> =
            row.runs.iter().filter_map(|replies| replies.get(rubric)?.score).map(|score| f64::from(score.get())).collect();
        (!scores.is_empty()).then(|| (record.prompt.as_str(), scores.iter().sum::<f64>() / scores.len() as f64))
    })
}

/// The interval of a mean over values that are resampled by instruction; none without a value or for one instruction.
fn interval<'a>(bootstrap: &Bootstrap, values: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Option<Interval>, Error> {
    let interval = Sample::clustered(values).and_then(|sample| bootstrap.mean(&sample));
    match interval {
        Err(Error::TooFewUnits { .. } | Error::Empty { .. }) => Ok(None),
        interval => interval.map(Some),
    }
}
