//! Values to resample, by row or by cluster.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Values to average, grouped into the independent units that a bootstrap draws.
///
/// A unit is a row, or a cluster of rows that are not independent. The rows of one instruction under
/// several system messages share the instruction's difficulty, and intervals that ignore this are too
/// narrow.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Sum of values and number of rows of each unit.
    units: Vec<(f64, usize)>,
    /// The same over all units.
    total: (f64, usize),
}

impl Sample {
    /// Values of independent rows.
    ///
    /// # Errors
    /// [`Error::Empty`] without a value, [`Error::NotFinite`].
    pub fn of(values: impl IntoIterator<Item = f64>) -> Result<Self> {
        let units = values.into_iter().enumerate().map(|(index, value)| Ok((finite(index, value)?, 1)));
        Self::new(units.collect::<Result<_>>()?)
    }

    /// Whether each independent row is a hit; the mean is the proportion of hits.
    ///
    /// # Errors
    /// [`Error::Empty`] without a row.
    pub fn hits(hits: impl IntoIterator<Item = bool>) -> Result<Self> {
        Self::of(hits.into_iter().map(f64::from))
    }

    /// The differences `left[i] - right[i]` of two models on the same independent rows.
    ///
    /// # Errors
    /// [`Error::Lengths`] if the two have different lengths, otherwise as [`Sample::of`].
    pub fn differences(left: &[f64], right: &[f64]) -> Result<Self> {
        if left.len() != right.len() {
            return Err(Error::Lengths { left: left.len(), right: right.len() });
        }
        Self::of(left.iter().zip(right).map(|(left, right)| left - right))
    }

    /// Values of rows that are independent only between clusters: `(cluster, value)`, in any order.
    ///
    /// Clusters are drawn whole, and the mean of a resample is over its rows, so a cluster of three rows
    /// weighs three times as much as a cluster of one row.
    ///
    /// # Errors
    /// As [`Sample::of`].
    ///
    /// ```
    /// use janus_eval::stats::{Bootstrap, Sample};
    /// // Two instructions, each under two system messages.
    /// let sample = Sample::clustered([("kite", 4.0), ("kite", 4.5), ("tea", 2.0), ("tea", 2.5)])?;
    /// assert_eq!(sample.units(), 2);
    /// # Ok::<(), janus_eval::Error>(())
    /// ```
    pub fn clustered<K: Ord>(values: impl IntoIterator<Item = (K, f64)>) -> Result<Self> {
        let mut clusters: BTreeMap<K, (f64, usize)> = BTreeMap::new();
        for (index, (key, value)) in values.into_iter().enumerate() {
            let cluster = clusters.entry(key).or_default();
            *cluster = (cluster.0 + finite(index, value)?, cluster.1 + 1);
        }
        Self::new(clusters.into_values().collect())
    }

    fn new(units: Vec<(f64, usize)>) -> Result<Self> {
        if units.is_empty() {
            return Err(Error::Empty { what: "a mean" });
        }
        let total = units.iter().fold((0.0, 0), |total, unit| (total.0 + unit.0, total.1 + unit.1));
        Ok(Self { units, total })
    }

    /// Number of rows.
    pub(crate) fn n(&self) -> usize {
        self.total.1
    }

    /// Number of independent units: rows, or clusters.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// Mean over all rows.
    pub(crate) fn mean(&self) -> f64 {
        self.total.0 / self.total.1 as f64
    }

    /// Mean over the rows of the drawn units.
    pub(super) fn mean_of(&self, drawn: &[usize]) -> f64 {
        let (sum, count) = drawn
            .iter()
            .fold((0.0, 0), |(sum, count), &unit| (sum + self.units[unit].0, count + self.units[unit].1));
        sum / count as f64
    }

    /// Mean over the rows of all units but one.
    pub(super) fn mean_without(&self, unit: usize) -> f64 {
        let (sum, count) = (self.total.0 - self.units[unit].0, self.total.1 - self.units[unit].1);
        sum / count as f64
    }
}

fn finite(index: usize, value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(Error::NotFinite { what: "a sample", index, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_infinite_values_are_refused() {
        assert_eq!(Sample::of([]).unwrap_err(), Error::Empty { what: "a mean" });
        assert!(matches!(Sample::of([1.0, f64::NAN]), Err(Error::NotFinite { index: 1, .. })));
        assert!(matches!(Sample::clustered([("a", f64::INFINITY)]), Err(Error::NotFinite { index: 0, .. })));
        assert_eq!(Sample::differences(&[1.0], &[]).unwrap_err(), Error::Lengths { left: 1, right: 0 });
    }

    #[test]
    fn a_clustered_mean_is_over_rows() {
        let sample = Sample::clustered([(1, 1.0), (2, 5.0), (1, 3.0)]).unwrap();
        assert_eq!((sample.mean(), sample.n(), sample.units()), (3.0, 3, 2));
    }
}
