//! A model's mean score, and its difference to another model's, with intervals that resample clusters of
//! rows.

use super::{PooledRow, ScoredRow, pool, same_rows};
use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result};

/// A model's mean score over all rows. A row's score is the mean over its rubrics. `cluster` returns the
/// cluster of the row at an index. The rows of one instruction under several system messages share its
/// difficulty, so the bootstrap resamples them together.
///
/// # Errors
/// [`Error::Row`] for a row without a score; [`Error::Empty`], [`Error::DoubledId`],
/// [`Error::ScoreOutOfRange`]; those of [`Bootstrap::mean`].
pub fn mean<K: Ord>(
    rows: &[ScoredRow],
    cluster: impl Fn(usize, &ScoredRow) -> K,
    bootstrap: &Bootstrap,
) -> Result<Interval> {
    let means = means(rows)?;
    bootstrap.mean(&Sample::clustered(
        rows.iter().zip(means).enumerate().map(|(index, (row, mean))| (cluster(index, row), mean)),
    )?)
}

/// The mean of the paired differences: a model's row score minus its opponent's. `cluster` is as in
/// [`mean`].
///
/// ```
/// use janus_eval::score::{ScoredRow, difference};
/// use janus_eval::stats::Bootstrap;
///
/// let rows = |scores: [[u8; 2]; 4]| -> Vec<ScoredRow> {
///     scores.iter().enumerate().map(|(row, s)| ScoredRow::new(row.to_string(), "koala", s.map(Some))).collect()
/// };
/// // Two instructions, each under two system messages.
/// let (janus, base) = (rows([[5, 4], [4, 4], [5, 5], [3, 4]]), rows([[3, 3], [4, 4], [4, 5], [3, 3]]));
/// let gain = difference(&janus, &base, |index, _| index / 2, &Bootstrap::default())?;
/// assert_eq!((gain.estimate, gain.n), (0.625, 4));
/// # Ok::<(), janus_eval::Error>(())
/// ```
///
/// # Errors
/// [`Error::RowMismatch`] if the two do not have the same rows in the same order; those of [`mean`].
pub fn difference<K: Ord>(
    model: &[ScoredRow],
    opponent: &[ScoredRow],
    cluster: impl Fn(usize, &ScoredRow) -> K,
    bootstrap: &Bootstrap,
) -> Result<Interval> {
    let (left, right) = (means(model)?, means(opponent)?);
    same_rows(model.iter().map(|row| row.id.as_str()), opponent.iter().map(|row| row.id.as_str()))?;
    let differences = model.iter().zip(left.into_iter().zip(right)).enumerate();
    bootstrap.mean(&Sample::clustered(
        differences.map(|(index, (row, (left, right)))| (cluster(index, row), left - right)),
    )?)
}

/// The mean over the rubrics of each row.
fn means(rows: &[ScoredRow]) -> Result<Vec<f64>> {
    let mean = |(index, row): (usize, PooledRow)| {
        row.mean().ok_or_else(|| Error::row(index, "scores", "at least one score", "none"))
    };
    pool(&[rows])?.into_iter().enumerate().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(ids: &[&str], scores: impl Into<Vec<Option<u8>>> + Clone) -> Vec<ScoredRow> {
        ids.iter().map(|id| ScoredRow::new(*id, "koala", scores.clone())).collect()
    }

    #[test]
    fn models_scored_on_different_rows_are_not_compared() {
        let of = |ids: &[&str]| scores(ids, [Some(3)]);
        for other in [&["a", "c"][..], &["a"], &["a", "b", "c"]] {
            let error =
                difference(&of(&["a", "b"]), &of(other), |row, _| row, &Bootstrap::default()).unwrap_err();
            assert!(matches!(error, Error::RowMismatch { index: 1 | 2, .. }), "{error}");
        }
    }

    #[test]
    fn a_row_without_a_score_is_named() {
        let error =
            mean(&scores(&["a"], [None]), |row, _| row, &Bootstrap::default()).unwrap_err().to_string();
        assert!(error.starts_with(r#"row 1, field "scores""#), "{error}");
    }
}
