//! A run judged by rubrics.

use std::path::Path;

use janus_core::{BenchRecord, Dimension};
use janus_data::{read_all, write_all};
use serde::{Deserialize, Serialize};

use super::{RESULT_FILE, RUN_FORMAT, RUN_VERSION, RunHead, content, interval, read_result, write_result};
use crate::judge::read::ScoreReader;
use crate::protocol::{
    JudgedResponse, Judgement, Protocol as _, RubricCase, Rubrics, rubric_cases, scored_runs,
};
use crate::score::{ScoreSummary, ScoredRow, pool, summarise};
use crate::stats::{Bootstrap, Interval};
use crate::{Error, Response, Result, record_id};

/// The result of judging one model's responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RubricResult {
    /// The judged model, the judge and the counts.
    #[serde(flatten)]
    pub head: RunHead,
    /// Number of runs. Each has its own seed.
    pub runs: usize,
    /// How the score was parsed.
    pub reader: ScoreReader,
    /// Scores from texts without a marker, parsed after the last word "score" or "result".
    pub fallbacks: usize,
    /// The means; `None` if there is no score.
    pub summary: Option<ScoreSummary>,
    /// Interval of the mean over rows, by bootstrap over instructions; `None` for a single instruction.
    pub interval: Option<Interval>,
    /// The mean of each dimension, if the records have preference sets.
    pub dimensions: Vec<DimensionScore>,
}

/// The mean score of one preference dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DimensionScore {
    /// The dimension.
    pub dimension: Dimension,
    /// Mean over rows, each averaged over its runs.
    pub mean: f64,
    /// Its interval, by bootstrap over instructions; `None` for a single instruction.
    pub interval: Option<Interval>,
    /// Number of rows.
    pub n: usize,
}

/// A judged run: its result, its cases and its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct RubricRun {
    /// The result.
    pub result: RubricResult,
    /// The records with their responses, in the bench's order.
    pub cases: Vec<RubricCase>,
    /// The judged rows, one for each case.
    pub rows: Vec<JudgedResponse>,
}

impl RubricRun {
    /// The files of a run's folder: the result, the bench, the responses, the judgments.
    pub const FILES: [&str; 4] = [RESULT_FILE, "bench.jsonl", "responses.jsonl", "judgments.jsonl"];

    /// A run from the judgement of a model's responses. `seed` is the bootstrap's seed.
    ///
    /// # Errors
    /// [`Error::RowMismatch`], [`Error::DoubledId`] for inconsistent rows.
    pub fn new(
        protocol: &Rubrics,
        model: impl Into<String>,
        mut cases: Vec<RubricCase>,
        judgement: Judgement<JudgedResponse>,
        seed: u64,
    ) -> Result<Self> {
        // A record without an id gets its position as its id, in the folder too.
        cases.iter_mut().for_each(|case| case.record.id = Some(case.id.clone()));
        let Judgement { settings, rows, counts } = judgement;
        let Rubrics { runs, reader, .. } = *protocol;
        let scores = scored_runs(runs, cases.iter().map(|case| &case.record), &rows);
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        let summary = match summarise(&scores) {
            Err(Error::Empty { .. }) => None,
            summary => Some(summary?),
        };
        let pooled = pool(&scores)?;
        let means = pooled
            .iter()
            .zip(&cases)
            .filter_map(|(row, case)| Some((case.record.prompt.as_str(), row.mean()?)));
        let interval = interval(&bootstrap, means)?;
        let mut dimensions = Vec::new();
        for dimension in Dimension::ALL {
            let values: Vec<(&str, f64)> = dimension_means(&cases, &rows, dimension).collect();
            if values.is_empty() {
                continue;
            }
            let (n, mean) =
                (values.len(), values.iter().map(|(_, mean)| mean).sum::<f64>() / values.len() as f64);
            dimensions.push(DimensionScore {
                dimension,
                mean,
                interval: super::interval(&bootstrap, values)?,
                n,
            });
        }
        let fallbacks =
            rows.iter().flat_map(|row| row.runs.iter().flatten()).filter(|reply| reply.fallback).count();
        let missing =
            cases.iter().filter(|case| case.response.is_none()).map(|case| case.id.as_str()).collect();
        let head = RunHead {
            format: RUN_FORMAT.into(),
            version: RUN_VERSION,
            protocol: protocol.info(),
            model: model.into(),
            opponent: None,
            settings,
            counts,
            rows: cases.len(),
            missing,
        };
        let result = RubricResult { head, runs, reader, fallbacks, summary, interval, dimensions };
        Ok(Self { result, cases, rows })
    }

    /// Writes [`FILES`](Self::FILES) into a folder, for [`Run::read`](super::Run::read).
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let [_, bench, responses, judgments] = Self::FILES.map(|name| folder.join(name));
        let response =
            |case: &RubricCase| Some(Response { id: case.id.clone(), response: case.response.clone()? });
        write_all(bench, &self.cases.iter().map(|case| case.record.clone()).collect::<Vec<_>>())?;
        write_all(responses, &self.cases.iter().filter_map(response).collect::<Vec<_>>())?;
        write_all(judgments, &self.rows)?;
        write_result(folder, &self.result)
    }

    /// Reads a folder written by [`write`](Self::write), of this or an earlier version.
    ///
    /// # Errors
    /// [`Error::RunFile`], [`Error::File`] for a file that cannot be read, has another format or
    /// version, or is inconsistent with the bench.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let [_, bench, responses, judgments] = Self::FILES.map(|name| folder.join(name));
        let result: RubricResult = read_result(folder)?;
        let (records, rows): (Vec<BenchRecord>, Vec<JudgedResponse>) =
            (read_all(bench)?, read_all(&judgments)?);
        for (index, record) in records.iter().enumerate() {
            let (id, rubrics) = (record_id(record, index), record.rubrics.len());
            let row = rows.get(index).filter(|row| row.id == id);
            let fits = row.is_some_and(|row| row.runs.iter().all(|replies| replies.len() == rubrics));
            if !fits {
                return Err(content(
                    &judgments,
                    format!("row {}: expected the judgment of \"{id}\" with {rubrics} rubrics", index + 1),
                ));
            }
        }
        if rows.len() != records.len() {
            return Err(content(
                &judgments,
                format!("it has {} rows, the bench {}", rows.len(), records.len()),
            ));
        }
        let cases = rubric_cases(&records, &read_all::<Response>(&responses)?)
            .map_err(|error| content(&responses, error))?;
        Ok(Self { result, cases, rows })
    }

    /// The scores of each run.
    pub fn scores(&self) -> Vec<Vec<ScoredRow>> {
        scored_runs(self.result.runs, self.cases.iter().map(|case| &case.record), &self.rows)
    }
}

/// For each row with a score for the dimension: its instruction, and the mean of the score over the
/// runs.
fn dimension_means<'a>(
    cases: &'a [RubricCase],
    rows: &'a [JudgedResponse],
    dimension: Dimension,
) -> impl Iterator<Item = (&'a str, f64)> {
    cases.iter().zip(rows).filter_map(move |(case, row)| {
        let set = case.record.preference_set.as_ref()?;
        let rubric = set.iter().position(|preference| preference.dimension == dimension)?;
        let scores: Vec<f64> = row
            .runs
            .iter()
            .filter_map(|replies| replies.get(rubric)?.score)
            .map(|score| f64::from(score.get()))
            .collect();
        (!scores.is_empty())
            .then(|| (case.record.prompt.as_str(), scores.iter().sum::<f64>() / scores.len() as f64))
    })
}
