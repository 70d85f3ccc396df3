//! Scored rows and the means over rubrics, runs and rows.
//!
//! A row's score is the mean over its rubrics. A model's score in a run is the mean over its rows. The
//! reported score is the mean over runs. Where scores are missing, a row's mean is over the scores it
//! has. A row without any score is left out of the mean and counted as missing.

mod clustered;
mod outcome;

use std::collections::BTreeMap;

use janus_core::{BenchRecord, Judge, JudgeRequest, Score, Verdict, error_chain};
use serde::{Deserialize, Deserializer, Serialize};

pub use clustered::{difference, mean};
pub use outcome::{Outcome, PairedOutcomes, PairedRow, Rates, Tally};

use crate::join::{Missing, Response, join, unique};
use crate::{Error, Result};

/// The scores of one response in one run: one entry for each rubric, `None` where the judge gave no
/// score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoredRow {
    /// The bench record's id.
    pub id: String,
    /// Which benchmark the instruction comes from.
    pub source: String,
    /// Scores 1 to 5 in the order of the record's rubrics; `null` where one is missing.
    #[serde(deserialize_with = "scores")]
    pub scores: Vec<Option<u8>>,
}

impl ScoredRow {
    /// A scored row.
    pub fn new(id: impl Into<String>, source: impl Into<String>, scores: impl Into<Vec<Option<u8>>>) -> Self {
        Self { id: id.into(), source: source.into(), scores: scores.into() }
    }

    /// Sum and number of the scores that are not missing.
    fn sum(&self) -> Result<(u64, u64)> {
        let (mut sum, mut count) = (0, 0);
        for (rubric, score) in self.scores.iter().enumerate() {
            match *score {
                Some(score @ 1..=5) => (sum, count) = (sum + u64::from(score), count + 1),
                Some(got) => return Err(Error::ScoreOutOfRange { id: self.id.clone(), rubric, got }),
                None => {}
            }
        }
        Ok((sum, count))
    }
}

fn scores<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Option<u8>>, D::Error> {
    let scores = Vec::<Option<Score>>::deserialize(deserializer)?;
    Ok(scores.into_iter().map(|score| score.map(Score::get)).collect())
}

/// A row's scores summed over rubrics and runs. The sum is an integer, so that equal rows compare as
/// equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PooledRow {
    /// The bench record's id.
    pub id: String,
    /// Which benchmark the instruction comes from.
    pub source: String,
    /// Sum of all scores.
    pub sum: u64,
    /// Number of scores; 0 if all are missing.
    pub count: u64,
}

impl PooledRow {
    /// The row's mean score, 1 to 5; `None` without a score.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// Sums the scores of each row over its rubrics and over the runs.
///
/// # Errors
/// [`Error::Empty`] without a run or a row, [`Error::RowMismatch`] if the runs do not have the same rows
/// in the same order, [`Error::DoubledId`], [`Error::ScoreOutOfRange`].
pub(crate) fn pool<R: AsRef<[ScoredRow]>>(runs: &[R]) -> Result<Vec<PooledRow>> {
    let (first, others) = runs.split_first().ok_or(Error::Empty { what: "a score without runs" })?;
    let first = first.as_ref();
    if first.is_empty() {
        return Err(Error::Empty { what: "a score without rows" });
    }
    unique("rows", first.iter().map(|row| row.id.as_str()))?;
    let mut pooled = Vec::with_capacity(first.len());
    for row in first {
        let (sum, count) = row.sum()?;
        pooled.push(PooledRow { id: row.id.clone(), source: row.source.clone(), sum, count });
    }
    for run in others {
        let run = run.as_ref();
        same_rows(first.iter().map(|row| row.id.as_str()), run.iter().map(|row| row.id.as_str()))?;
        for (pooled, row) in pooled.iter_mut().zip(run) {
            let (sum, count) = row.sum()?;
            (pooled.sum, pooled.count) = (pooled.sum + sum, pooled.count + count);
        }
    }
    Ok(pooled)
}

/// Checks that two lists name the same rows in the same order.
pub(crate) fn same_rows<'a>(
    left: impl Iterator<Item = &'a str>,
    right: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let (mut left, mut right) = (left.fuse(), right.fuse());
    for index in 0.. {
        let name = |id: Option<&str>| id.map_or("no row".into(), String::from);
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => return Err(Error::RowMismatch { index, left: name(a), right: name(b) }),
        }
    }
    Ok(())
}

/// A mean score over rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreMean {
    /// Mean over the rows of each run, then over the runs; 1 to 5.
    pub mean: f64,
    /// Standard error over rows (divisor n - 1) of each row's mean over rubrics and runs; `None` for a
    /// single row.
    pub standard_error: Option<f64>,
    /// Rows with a score.
    pub n: usize,
    /// Rows without a score.
    pub missing: usize,
}

/// The mean score over the rows of one benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceScore {
    /// The benchmark.
    pub source: String,
    /// Its rows, including those without a score.
    pub rows: usize,
    /// The mean; `None` if no row has a score.
    pub score: Option<ScoreMean>,
}

/// A model's scores on a bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreSummary {
    /// Over all rows. This is not the mean of the sources' means.
    pub overall: ScoreMean,
    /// The mean over rows of each run; `None` for a run without a score.
    pub runs: Vec<Option<f64>>,
    /// One entry for each source, in the order in which the rows first name them.
    pub sources: Vec<SourceScore>,
}

/// The means of a model's runs: overall, per run and per source.
///
/// # Errors
/// [`Error::Empty`] without a run or a row, or if no row of any run has a score; [`Error::RowMismatch`]
/// if the runs do not have the same rows in the same order; [`Error::DoubledId`],
/// [`Error::ScoreOutOfRange`].
pub fn summarise<R: AsRef<[ScoredRow]>>(runs: &[R]) -> Result<ScoreSummary> {
    let pooled = pool(runs)?;
    let mut by_run = Vec::with_capacity(runs.len());
    for run in runs {
        by_run.push(pool(&[run])?);
    }
    let everything: Vec<usize> = (0..pooled.len()).collect();
    let overall = score_mean(&pooled, &by_run, &everything).ok_or(Error::Empty { what: "a mean score" })?;
    let mut sources: Vec<(&str, Vec<usize>)> = Vec::new();
    for (index, row) in pooled.iter().enumerate() {
        match sources.iter_mut().find(|(source, _)| *source == row.source) {
            Some((_, rows)) => rows.push(index),
            None => sources.push((&row.source, vec![index])),
        }
    }
    let sources = sources.into_iter().map(|(source, rows)| SourceScore {
        source: source.into(),
        rows: rows.len(),
        score: score_mean(&pooled, &by_run, &rows),
    });
    let runs = by_run.iter().map(|run| mean_of_rows(run.iter())).collect();
    Ok(ScoreSummary { overall, runs, sources: sources.collect() })
}

fn score_mean(pooled: &[PooledRow], by_run: &[Vec<PooledRow>], rows: &[usize]) -> Option<ScoreMean> {
    let runs: Vec<f64> =
        by_run.iter().filter_map(|run| mean_of_rows(rows.iter().map(|&row| &run[row]))).collect();
    let means: Vec<f64> = rows.iter().filter_map(|&row| pooled[row].mean()).collect();
    if runs.is_empty() {
        return None;
    }
    Some(ScoreMean {
        mean: runs.iter().sum::<f64>() / runs.len() as f64,
        standard_error: standard_error(&means),
        n: means.len(),
        missing: rows.len() - means.len(),
    })
}

/// Mean over rows of the rows' means. Rows with the same number of scores are summed as integers, so
/// that the order of rows does not change the result.
fn mean_of_rows<'a>(rows: impl Iterator<Item = &'a PooledRow>) -> Option<f64> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    let mut n = 0_u64;
    for row in rows.filter(|row| row.count > 0) {
        *sums.entry(row.count).or_default() += row.sum;
        n += 1;
    }
    let total: f64 = sums.into_iter().map(|(count, sum)| sum as f64 / count as f64).sum();
    (n > 0).then(|| total / n as f64)
}

fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())
}

/// A response that the judge could not score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The record's id.
    pub id: String,
    /// The judge's error and its causes.
    pub reason: String,
}

/// A judge's verdicts on a model's responses.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredResponses {
    /// One row for each bench record, in the bench's order; all scores are `None` where there is no
    /// verdict.
    pub rows: Vec<ScoredRow>,
    /// The verdicts behind the rows, with the judge's feedback.
    pub verdicts: Vec<Option<Verdict>>,
    /// Records without a response.
    pub missing: Missing,
    /// Responses without a verdict.
    pub failures: Vec<Failure>,
}

/// Joins responses with the bench records, and judges each response.
///
/// # Errors
/// Those of [`join`]. A judge's failure is not an error: it is reported in
/// [`ScoredResponses::failures`].
pub fn score_responses(
    records: &[BenchRecord],
    responses: &[Response],
    judge: &dyn Judge,
) -> Result<ScoredResponses> {
    let joined = join(records, responses)?;
    let requests: Vec<JudgeRequest<'_>> = joined
        .rows
        .iter()
        .filter_map(|row| row.response.map(|response| JudgeRequest::new(row.record, response)))
        .collect();
    let mut answers = judge.judge(&requests).into_iter();
    let mut scored = ScoredResponses {
        rows: Vec::new(),
        verdicts: Vec::new(),
        missing: joined.missing,
        failures: Vec::new(),
    };
    for row in joined.rows {
        let rubrics = row.record.rubrics.len();
        let verdict = row.response.and_then(|_| {
            let verdict = match answers.next() {
                Some(Ok(verdict)) if verdict.rubrics.len() == rubrics => return Some(verdict),
                Some(Ok(verdict)) => format!(
                    "the judge gave {} scores, the record has {rubrics} rubrics",
                    verdict.rubrics.len()
                ),
                Some(Err(error)) => error_chain(&error),
                None => "the judge gave no answer".into(),
            };
            scored.failures.push(Failure { id: row.id.clone(), reason: verdict });
            None
        });
        let scores = match &verdict {
            Some(verdict) => verdict.rubrics.iter().map(|rubric| Some(rubric.score.get())).collect(),
            None => vec![None; rubrics],
        };
        scored.rows.push(ScoredRow { id: row.id, source: row.record.source.clone(), scores });
        scored.verdicts.push(verdict);
    }
    Ok(scored)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(id: usize, source: &str, scores: &[u8]) -> ScoredRow {
        let scores: Vec<_> = scores.iter().map(|&score| (score > 0).then_some(score)).collect();
        ScoredRow::new(id.to_string(), source, scores)
    }

    #[test]
    fn overall_is_over_rows_and_not_over_sources() {
        let rows = [row(0, "a", &[1, 1]), row(1, "b", &[4, 4]), row(2, "b", &[5, 4]), row(3, "b", &[5, 5])];
        let summary = summarise(&[rows]).unwrap();
        assert_eq!(summary.overall.mean, 14.5 / 4.0);
        let sources: Vec<_> =
            summary.sources.iter().map(|s| (s.source.as_str(), s.score.as_ref().unwrap().mean)).collect();
        assert_eq!(sources, [("a", 1.0), ("b", 4.5)]);
        assert_eq!(
            summary.sources[0].score.as_ref().unwrap().standard_error,
            None,
            "one row has no standard error"
        );
        // The row means are 1, 4, 4.5 and 5. Their squared deviations sum to 62.25 - 4 * 3.625^2 = 9.6875.
        let expected = (62.25_f64 - 4.0 * 3.625 * 3.625) / 3.0 / 4.0;
        assert!((summary.overall.standard_error.unwrap() - expected.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_mean_is_over_the_scores_that_are_not_missing() {
        let rows =
            [row(0, "a", &[5, 0, 4, 0]), row(1, "a", &[0, 0]), row(2, "a", &[2, 2]), row(3, "b", &[0])];
        let summary = summarise(&[rows]).unwrap();
        assert_eq!((summary.overall.mean, summary.overall.n, summary.overall.missing), (3.25, 2, 2));
        assert_eq!(summary.sources[1], SourceScore { source: "b".into(), rows: 1, score: None });
    }

    #[test]
    fn nothing_scored_is_an_error_and_not_a_nan() {
        assert_eq!(summarise(&[[row(0, "a", &[0, 0])]]).unwrap_err(), Error::Empty { what: "a mean score" });
        assert_eq!(
            summarise::<Vec<ScoredRow>>(&[]).unwrap_err(),
            Error::Empty { what: "a score without runs" }
        );
        assert_eq!(summarise(&[Vec::new()]).unwrap_err(), Error::Empty { what: "a score without rows" });
    }

    #[test]
    fn runs_over_different_rows_are_refused() {
        let (one, two) = (vec![row(0, "a", &[1])], vec![row(0, "a", &[1]), row(1, "a", &[1])]);
        let mismatch = Error::RowMismatch { index: 1, left: "no row".into(), right: "1".into() };
        assert_eq!(pool(&[one.clone(), two]).unwrap_err(), mismatch);
        let doubled = vec![row(0, "a", &[1]), row(0, "a", &[1])];
        assert!(matches!(pool(&[doubled]), Err(Error::DoubledId { what: "rows", .. })));
        let six = vec![ScoredRow::new("x", "a", [None, Some(6)])];
        assert_eq!(
            pool(&[one, six]).unwrap_err(),
            Error::RowMismatch { index: 0, left: "0".into(), right: "x".into() }
        );
        let six = vec![ScoredRow::new("x", "a", [None, Some(6)])];
        assert_eq!(pool(&[six]).unwrap_err(), Error::ScoreOutOfRange { id: "x".into(), rubric: 1, got: 6 });
    }

    #[test]
    fn a_row_has_three_json_fields() {
        let text = r#"{"id":"7","source":"koala","scores":[5,null,1,4]}"#;
        let read: ScoredRow = serde_json::from_str(text).unwrap();
        assert_eq!(read, row(7, "koala", &[5, 0, 1, 4]));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(serde_json::from_str::<ScoredRow>(&text.replace('5', "6")).is_err());
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_change_the_mean(
            scores in proptest::collection::vec(proptest::collection::vec(0_u8..=5, 1..5), 1..40),
            shift in 0_usize..40,
        ) {
            let mut rows: Vec<_> = scores.iter().enumerate().map(|(i, s)| row(i, "a", s)).collect();
            let before = summarise(&[&rows]).map(|s| s.overall.mean);
            let shift = shift % rows.len();
            rows.rotate_left(shift);
            prop_assert_eq!(summarise(&[&rows]).map(|s| s.overall.mean), before);
        }

        #[test]
        fn a_mean_is_between_one_and_five(scores in proptest::collection::vec(proptest::collection::vec(1_u8..=5, 1..5), 1..40)) {
            let rows: Vec<_> = scores.iter().enumerate().map(|(i, s)| row(i, "a", s)).collect();
            let mean = summarise(&[rows]).unwrap().overall.mean;
            prop_assert!((1.0..=5.0).contains(&mean));
        }
    }
}
