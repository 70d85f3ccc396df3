//! Rubric scores of several models.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use janus_core::Score;
use janus_data::read_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bench::evaluation::{Evaluation, Numbers, flat, in_file, part, shown};
use crate::score::{PairedOutcomes, ScoredRow, pool, summarise};
use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result};

/// One row of a judgment file: a model's answer to one prompt, judged in several runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RubricRow {
    /// The prompt's number.
    idx: u64,
    /// The model.
    model: String,
    /// The prompt's category.
    #[serde(default)]
    category: String,
    /// One score for each run, 1 to 5; null where one is missing.
    scores: Vec<Option<Score>>,
}

/// A model's means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RubricMean {
    /// The model.
    pub model: String,
    /// Rows with a score.
    pub items: usize,
    /// Rows without one.
    pub missing: usize,
    /// Mean over runs of the mean over rows.
    pub mean: f64,
    /// Standard error over rows of each row's mean over its runs; `None` for a single row.
    pub standard_error: Option<f64>,
    /// Interval of the mean over rows; `None` for a single row.
    pub interval: Option<Interval>,
    /// The mean of each run; `None` for a run without a score.
    pub run_means: Vec<Option<f64>>,
    /// How often each score was given.
    pub histogram: BTreeMap<u8, usize>,
}

/// How often a model's summed scores beat another's; rates in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RubricPair {
    /// The model.
    pub a: String,
    /// Its opponent.
    pub b: String,
    /// Rows for which both have a score.
    pub n: usize,
    /// Rows for which one of them has no score.
    pub missing: usize,
    /// Rows that `a` won.
    pub win: usize,
    /// Ties.
    pub tie: usize,
    /// Ties in which both means are at least 4.
    pub both_good: usize,
    /// Rows that `b` won.
    pub loss: usize,
    /// (win + all ties) / n.
    pub tie_win_rate: f64,
    /// The paper's (win + both good) / n.
    pub tie_win_rate_both_good: f64,
    /// (win + half the ties) / n.
    pub win_rate_half_ties: f64,
}

/// The scores in a judgment file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RubricReport {
    /// Every model's means, in alphabetical order.
    pub absolute: Vec<RubricMean>,
    /// Every ordered pair of different models.
    pub pairwise: Vec<RubricPair>,
}

/// The mean scores and the pairwise win rates of the models in a file of judgments. A row is
/// `{idx, model, category, scores}`, with a score from 1 to 5 or null for each run. `seed` is the seed
/// of the bootstrap over rows.
///
/// # Errors
/// [`Error::File`]; with the file's path [`Error::Empty`] without a row or a score, [`Error::Row`] for a
/// row with a different number of runs than the first, or a prompt that occurs twice for a model, and
/// [`Error::RowMismatch`] if the models did not answer the same prompts.
pub fn evaluate(judgments: impl AsRef<Path>, seed: u64) -> Result<Evaluation> {
    let path = judgments.as_ref();
    let rows: Vec<RubricRow> = read_all(path)?;
    in_file(path, RubricReport::of(&rows, &Bootstrap { seed, ..Bootstrap::default() }))?.evaluation()
}

impl RubricReport {
    /// The means and pairs of rows in any order.
    pub(crate) fn of(rows: &[RubricRow], bootstrap: &Bootstrap) -> Result<Self> {
        let models = runs_by_model(rows)?;
        let mut absolute = Vec::new();
        let mut pooled = Vec::new();
        for (model, runs) in &models {
            let summary = summarise(runs)?;
            let mut histogram: BTreeMap<u8, usize> = (1..=5).map(|score| (score, 0)).collect();
            for score in runs.iter().flatten().flat_map(|row| row.scores.iter().flatten()) {
                *histogram.entry(*score).or_default() += 1;
            }
            let sums = pool(runs)?;
            let interval = match bootstrap.mean(&Sample::of(sums.iter().filter_map(|row| row.mean()))?) {
                Err(Error::TooFewUnits { .. }) => None,
                interval => Some(interval?),
            };
            absolute.push(RubricMean {
                model: model.to_string(),
                items: summary.overall.n,
                missing: summary.overall.missing,
                mean: summary.overall.mean,
                standard_error: summary.overall.standard_error,
                interval,
                run_means: summary.runs,
                histogram,
            });
            pooled.push((*model, sums));
        }
        let mut pairwise = Vec::new();
        for (a, left) in &pooled {
            for (b, right) in pooled.iter().filter(|(b, _)| b != a) {
                let outcomes = PairedOutcomes::of_pooled(left, right)?;
                let rates = outcomes.tally.rates()?;
                pairwise.push(RubricPair {
                    a: a.to_string(),
                    b: b.to_string(),
                    n: rates.n,
                    missing: outcomes.missing,
                    win: outcomes.tally.win,
                    tie: outcomes.tally.tie(),
                    both_good: outcomes.tally.both_good,
                    loss: outcomes.tally.loss,
                    tie_win_rate: 100.0 * rates.tie_win_all,
                    tie_win_rate_both_good: 100.0 * rates.tie_win,
                    win_rate_half_ties: 100.0 * rates.win_rate_ties_half,
                });
            }
        }
        Ok(Self { absolute, pairwise })
    }
}

impl Numbers for RubricReport {
    fn numbers(&self) -> Result<Map<String, Value>> {
        flat([part(self)])
    }
}

impl fmt::Display for RubricReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for model in &self.absolute {
            let runs: Vec<String> = model
                .run_means
                .iter()
                .map(|run| run.map_or("none".into(), |run| format!("{run:.3}")))
                .collect();
            lines.push(format!(
                "{:20} {:.4}{} (runs {}; {} rows, {} missing)",
                model.model,
                model.mean,
                shown(model.interval.as_ref(), 3),
                runs.join(", "),
                model.items,
                model.missing
            ));
        }
        for pair in &self.pairwise {
            lines.push(format!(
                "{} against {}: {} wins, {} ties ({} of good answers), {} losses; tie+win {:.1} %",
                pair.a, pair.b, pair.win, pair.tie, pair.both_good, pair.loss, pair.tie_win_rate_both_good
            ));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// The runs of each model, rows in the order of the prompts' numbers.
fn runs_by_model(rows: &[RubricRow]) -> Result<BTreeMap<&str, Vec<Vec<ScoredRow>>>> {
    let runs = rows.first().ok_or(Error::Empty { what: "a rubric score without rows" })?.scores.len();
    let mut models: BTreeMap<&str, BTreeMap<u64, &RubricRow>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        if row.scores.len() != runs || runs == 0 {
            return Err(Error::row(
                index,
                "scores",
                format!("{} runs, as in the first row", runs.max(1)),
                row.scores.len(),
            ));
        }
        if models.entry(&row.model).or_default().insert(row.idx, row).is_some() {
            return Err(Error::row(
                index,
                "idx",
                format!("each prompt once for {}", row.model),
                format!("{} again", row.idx),
            ));
        }
    }
    let run = |rows: &BTreeMap<u64, &RubricRow>, run: usize| -> Vec<ScoredRow> {
        let scored = |row: &&RubricRow| {
            ScoredRow::new(row.idx.to_string(), row.category.clone(), [row.scores[run].map(Score::get)])
        };
        rows.values().map(scored).collect()
    };
    Ok(models
        .into_iter()
        .map(|(model, rows)| (model, (0..runs).map(|place| run(&rows, place)).collect()))
        .collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(idx: u64, model: &str, scores: &[i64]) -> RubricRow {
        let scores = scores.iter().map(|&score| (score > 0).then(|| Score::new(score).unwrap())).collect();
        RubricRow { idx, model: model.into(), category: "x".into(), scores }
    }

    #[test]
    fn bad_rows_are_named() {
        let of = |rows: &[RubricRow]| RubricReport::of(rows, &Bootstrap::default()).unwrap_err();
        assert!(matches!(of(&[]), Error::Empty { .. }));
        assert!(matches!(
            of(&[row(1, "a", &[1, 2]), row(2, "a", &[1])]),
            Error::Row { row: 2, field: "scores", .. }
        ));
        assert!(matches!(
            of(&[row(1, "a", &[1]), row(1, "a", &[2])]),
            Error::Row { row: 2, field: "idx", .. }
        ));
        assert!(matches!(of(&[row(1, "a", &[1]), row(2, "b", &[2])]), Error::RowMismatch { .. }));
        assert!(matches!(of(&[row(1, "a", &[])]), Error::Row { row: 1, field: "scores", .. }));
        for wrong in ["-1", "6", "4.5", "\"x\""] {
            let text = format!(r#"{{"idx": 1, "model": "m", "scores": [{wrong}]}}"#);
            assert!(serde_json::from_str::<RubricRow>(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mean_is_over_the_scores_that_are_not_missing() {
        let rows = [row(1, "a", &[4, 0]), row(2, "a", &[0, 0]), row(1, "b", &[3, 3]), row(2, "b", &[5, 5])];
        let report = RubricReport::of(&rows, &Bootstrap::default()).unwrap();
        assert_eq!(
            (report.absolute[0].mean, report.absolute[0].items, report.absolute[0].missing),
            (4.0, 1, 1)
        );
        assert_eq!(report.absolute[0].run_means, [Some(4.0), None]);
        assert_eq!((report.pairwise[0].n, report.pairwise[0].win, report.pairwise[0].missing), (1, 1, 1));
    }

    proptest! {
        #[test]
        fn shuffled_rows_give_the_same_report_and_swapped_pairs_mirror_it(
            scores in proptest::collection::vec((0_i64..=5, 1_i64..=5), 2..20),
            shift in 0_usize..40,
        ) {
            let mut rows: Vec<RubricRow> = scores.iter().enumerate().map(|(i, s)| row(i as u64, "a", &[s.0, s.1])).collect();
            rows.extend(scores.iter().enumerate().map(|(i, s)| row(i as u64, "b", &[s.1, s.1])));
            let bootstrap = Bootstrap { resamples: 50, ..Bootstrap::default() };
            let report = RubricReport::of(&rows, &bootstrap).unwrap();
            let shift = shift % rows.len();
            rows.rotate_left(shift);
            prop_assert_eq!(&RubricReport::of(&rows, &bootstrap).unwrap(), &report);
            let [there, back] = &report.pairwise[..] else { panic!("two models have two ordered pairs") };
            prop_assert_eq!((there.win, there.tie, there.loss), (back.loss, back.tie, back.win));
            prop_assert!((there.win_rate_half_ties + back.win_rate_half_ties - 100.0).abs() < 1e-9);
        }
    }
}
