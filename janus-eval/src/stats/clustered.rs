//! A model's scores, row by row, with the rows that belong together.

use super::{Bootstrap, Interval, Sample};
use crate::score::{ScoredRow, pool, same_rows};
use crate::{Error, Result};

/// The mean score of each row of a model, and the cluster that the row belongs to: the rows of one instruction under several
/// system messages share its difficulty, so that intervals resample them together.
///
/// ```
/// use janus_eval::stats::{Bootstrap, ClusteredScores};
/// use janus_eval::score::ScoredRow;
///
/// let rows = |scores: [[u8; 2]; 4]| -> Vec<ScoredRow> {
///     scores.iter().enumerate().map(|(row, s)| ScoredRow::new(row.to_string(), "koala", s.map(Some))).collect()
/// };
/// // Two instructions, each under two system messages.
/// let janus = ClusteredScores::of(&rows([[5, 4], [4, 4], [5, 5], [3, 4]]), |row| row / 2)?;
/// let base = ClusteredScores::of(&rows([[3, 3], [4, 4], [4, 5], [3, 3]]), |row| row / 2)?;
/// let gain = janus.minus(&base, &Bootstrap::default())?;
/// assert_eq!((gain.estimate, gain.n), (0.625, 4));
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClusteredScores {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: String,
    cluster: usize,
    mean: f64,
}

impl ClusteredScores {
    /// The means over the rubrics of each row; `cluster` gives the cluster of the row at an index.
    ///
    /// # Errors
    /// Those of [`pool`]; [`Error::Row`] for a row without a score.
    pub fn of(rows: &[ScoredRow], cluster: impl Fn(usize) -> usize) -> Result<Self> {
        let row = |(index, row): (usize, crate::score::PooledRow)| {
            let mean = row.mean().ok_or_else(|| Error::row(index, "scores", "at least one score", "none"))?;
            Ok(Row { id: row.id, cluster: cluster(index), mean })
        };
        Ok(Self { rows: pool(&[rows])?.into_iter().enumerate().map(row).collect::<Result<_>>()? })
    }

    /// The mean score over all rows.
    ///
    /// # Errors
    /// Those of [`Bootstrap::mean`].
    pub fn mean(&self, bootstrap: &Bootstrap) -> Result<Interval> {
        bootstrap.mean(&Sample::clustered(self.rows.iter().map(|row| (row.cluster, row.mean)))?)
    }

    /// The mean of the paired differences, this model's score of a row less the other model's.
    ///
    /// # Errors
    /// [`Error::RowMismatch`] if the two are not of the same rows in the same order; those of [`Bootstrap::mean`].
    pub fn minus(&self, other: &Self, bootstrap: &Bootstrap) -> Result<Interval> {
        same_rows(self.rows.iter().map(|row| row.id.as_str()), other.rows.iter().map(|row| row.id.as_str()))?;
        let pairs = self.rows.iter().zip(&other.rows);
        bootstrap.mean(&Sample::clustered(pairs.map(|(left, right)| (left.cluster, left.mean - right.mean)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(ids: &[&str], scores: impl Into<Vec<Option<u8>>> + Clone) -> Vec<ScoredRow> {
        ids.iter().map(|id| ScoredRow::new(*id, "koala", scores.clone())).collect()
    }

    #[test]
    fn models_of_other_rows_are_not_compared() {
        let of = |ids: &[&str]| ClusteredScores::of(&scores(ids, [Some(3)]), |row| row).unwrap();
        for other in [&["a", "c"][..], &["a"], &["a", "b", "c"]] {
            let error = of(&["a", "b"]).minus(&of(other), &Bootstrap::default()).unwrap_err();
            assert!(matches!(error, Error::RowMismatch { index: 1 | 2, .. }), "{error}");
        }
    }

    #[test]
    fn a_row_without_a_score_is_named() {
        let error = ClusteredScores::of(&scores(&["a"], [None]), |row| row).unwrap_err().to_string();
        assert!(error.starts_with(r#"row 1, field "scores""#), "{error}");
    }
}
