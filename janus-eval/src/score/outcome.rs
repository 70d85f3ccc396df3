//! Which of two models did better, row by row, and the paper's tie+win rate.
//!
//! Janus (arXiv 2405.17977, Figure 3) counts four outcomes: the model wins, both are good, both are bad,
//! the opponent wins. Its tie+win rate is (wins + both good) / all rows; both bad does not count.

use serde::{Deserialize, Serialize};

use super::{PooledRow, ScoredRow, pool, same_rows};
use crate::{Error, Result};

/// A row is good if its mean is at least this.
const GOOD: u64 = 4;

/// The outcome of one row between a model and its opponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The model's score is higher.
    Win,
    /// Equal scores, and both row means are at least 4.
    BothGood,
    /// Equal scores below 4.
    BothBad,
    /// The opponent's score is higher.
    Loss,
}

impl Outcome {
    /// The outcome from two rows' means, compared as exact fractions; `None` if a row has no score.
    pub(crate) fn of(model: &PooledRow, opponent: &PooledRow) -> Option<Self> {
        if model.count == 0 || opponent.count == 0 {
            return None;
        }
        // Cross-multiplied instead of divided: floating-point means of equal rows with different counts
        // may differ.
        let left = u128::from(model.sum) * u128::from(opponent.count);
        let right = u128::from(opponent.sum) * u128::from(model.count);
        Some(match left.cmp(&right) {
            std::cmp::Ordering::Greater => Self::Win,
            std::cmp::Ordering::Less => Self::Loss,
            std::cmp::Ordering::Equal if model.sum >= GOOD * model.count => Self::BothGood,
            std::cmp::Ordering::Equal => Self::BothBad,
        })
    }

    /// Whether it counts towards the paper's tie+win rate.
    pub fn is_tie_win(self) -> bool {
        matches!(self, Self::Win | Self::BothGood)
    }
}

/// How often each outcome occurred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows that the model won.
    pub win: usize,
    /// Ties of good responses.
    pub both_good: usize,
    /// Ties of responses that are not good.
    pub both_bad: usize,
    /// Rows that the opponent won.
    pub loss: usize,
}

impl Tally {
    /// Rows with an outcome.
    pub(crate) fn n(&self) -> usize {
        self.win + self.tie() + self.loss
    }

    /// Ties of both kinds.
    pub(crate) fn tie(&self) -> usize {
        self.both_good + self.both_bad
    }

    /// The rates, as fractions of 1.
    ///
    /// # Errors
    /// [`Error::Empty`] if no row has an outcome.
    pub fn rates(&self) -> Result<Rates> {
        if self.n() == 0 {
            return Err(Error::Empty { what: "a rate over paired rows" });
        }
        let n = self.n() as f64;
        Ok(Rates {
            n: self.n(),
            tie_win: (self.win + self.both_good) as f64 / n,
            tie_win_all: (self.win + self.tie()) as f64 / n,
            win_rate_ties_half: (2 * self.win + self.tie()) as f64 / (2.0 * n),
        })
    }

    pub(crate) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Win => &mut self.win,
            Outcome::BothGood => &mut self.both_good,
            Outcome::BothBad => &mut self.both_bad,
            Outcome::Loss => &mut self.loss,
        } += 1;
    }
}

/// Rates over paired rows, fractions of 1. The first two count a tie as a success of both sides, so the
/// rates of a model and of its opponent may add up to more than 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Rows.
    pub n: usize,
    /// The paper's tie+win: (wins + both good) / n.
    pub tie_win: f64,
    /// (wins + all ties) / n.
    pub tie_win_all: f64,
    /// (wins + half the ties) / n, the win rate of MT-Bench and Arena-Hard.
    pub win_rate_ties_half: f64,
}

/// A row's outcome and the scores behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedRow {
    /// The bench record's id.
    pub id: String,
    /// Which benchmark the instruction comes from.
    pub source: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The model's row mean minus the opponent's.
    pub difference: f64,
}

/// The outcomes of a model against an opponent, from absolute scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedOutcomes {
    /// How often each outcome occurred.
    pub tally: Tally,
    /// Rows left out because the model or the opponent has no score.
    pub missing: usize,
    /// The rows with an outcome, in the bench's order.
    pub rows: Vec<PairedRow>,
}

impl PairedOutcomes {
    /// Compares the runs of two models row by row, by each row's mean over rubrics and runs.
    ///
    /// # Errors
    /// [`Error::RowMismatch`] if the two were not scored on the same rows in the same order;
    /// [`Error::Empty`] without a run or a row, [`Error::DoubledId`], [`Error::ScoreOutOfRange`].
    pub fn of<R: AsRef<[ScoredRow]>, S: AsRef<[ScoredRow]>>(model: &[R], opponent: &[S]) -> Result<Self> {
        Self::of_pooled(&pool(model)?, &pool(opponent)?)
    }

    pub(crate) fn of_pooled(model: &[PooledRow], opponent: &[PooledRow]) -> Result<Self> {
        same_rows(model.iter().map(|row| row.id.as_str()), opponent.iter().map(|row| row.id.as_str()))?;
        let mut outcomes = Self { tally: Tally::default(), missing: 0, rows: Vec::new() };
        for (model, opponent) in model.iter().zip(opponent) {
            let (Some(outcome), Some(a), Some(b)) =
                (Outcome::of(model, opponent), model.mean(), opponent.mean())
            else {
                outcomes.missing += 1;
                continue;
            };
            outcomes.tally.count(outcome);
            outcomes.rows.push(PairedRow {
                id: model.id.clone(),
                source: model.source.clone(),
                outcome,
                difference: a - b,
            });
        }
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pooled(sum: u64, count: u64) -> PooledRow {
        PooledRow { id: "x".into(), source: "a".into(), sum, count }
    }

    #[test]
    fn a_tie_is_good_from_a_mean_of_four() {
        assert_eq!(Outcome::of(&pooled(16, 4), &pooled(16, 4)), Some(Outcome::BothGood));
        assert_eq!(Outcome::of(&pooled(15, 4), &pooled(15, 4)), Some(Outcome::BothBad));
        assert_eq!(Outcome::of(&pooled(16, 4), &pooled(15, 4)), Some(Outcome::Win));
        assert_eq!(Outcome::of(&pooled(15, 4), &pooled(16, 4)), Some(Outcome::Loss));
        assert_eq!(Outcome::of(&pooled(0, 0), &pooled(16, 4)), None);
    }

    #[test]
    fn rows_with_missing_scores_are_compared_as_fractions() {
        // 13/3 and 52/12 are the same mean.
        assert_eq!(Outcome::of(&pooled(13, 3), &pooled(52, 12)), Some(Outcome::BothGood));
    }

    /// Integer sums are compared because floating-point means of equal rows may differ when added up run
    /// by run.
    #[test]
    fn equal_sums_tie_where_floating_point_means_do_not() {
        let mean = |scores: [f64; 3]| scores.iter().map(|score| score / 3.0).sum::<f64>();
        assert_ne!(mean([1.0, 1.0, 4.0]), mean([1.0, 4.0, 1.0]));
        assert_eq!(Outcome::of(&pooled(1 + 1 + 4, 3), &pooled(1 + 4 + 1, 3)), Some(Outcome::BothBad));
    }

    #[test]
    fn the_papers_figure_three_adds_up() {
        // Janus 7B against Mistral 7B Instruct v0.2, in tenths of a percent: 36.8 + 38.4 = 75.2.
        let rates = Tally { win: 368, both_good: 384, both_bad: 124, loss: 124 }.rates().unwrap();
        assert_eq!(
            (rates.n, rates.tie_win, rates.tie_win_all, rates.win_rate_ties_half),
            (1000, 0.752, 0.876, 0.622)
        );
    }

    #[test]
    fn without_a_pair_there_is_no_rate() {
        assert!(Tally::default().rates().is_err());
        let none = PairedOutcomes::of_pooled(&[pooled(0, 0)], &[pooled(4, 1)]).unwrap();
        assert_eq!((none.missing, none.tally.n()), (1, 0));
    }

    proptest! {
        #[test]
        fn swapping_the_sides_mirrors_the_outcome(a in 4_u64..=20, b in 3_u64..=15) {
            let (a, b) = (pooled(a, 4), pooled(b, 3));
            let mirrored = match Outcome::of(&a, &b).unwrap() {
                Outcome::Win => Outcome::Loss,
                Outcome::Loss => Outcome::Win,
                tie => tie,
            };
            prop_assert_eq!(Outcome::of(&b, &a), Some(mirrored));
        }
    }
}
