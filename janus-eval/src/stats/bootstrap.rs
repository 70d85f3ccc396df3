//! The bootstrap (Efron 1979): percentile and BCa intervals from seeded resamples.

use rand::RngCore;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Interval, Sample, check_level, normal};
use crate::{Error, Result};

/// How the interval is computed from the resamples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Quantiles of the resamples.
    Percentile,
    /// Quantiles corrected for bias, and for a standard error that varies with the statistic
    /// (bias-corrected and accelerated; Efron 1987, JASA 82). More accurate for skewed data and few
    /// rows.
    #[default]
    Bca,
}

/// Settings of a bootstrap. Equal settings and data give equal intervals, on every machine and any
/// number of threads.
///
/// ```
/// use janus_eval::stats::{Bootstrap, Sample};
/// let scores = [4.25, 3.5, 5.0, 4.0, 2.75, 4.5, 3.75, 4.0];
/// let interval = Bootstrap::default().mean(&Sample::of(scores)?)?;
/// assert!(interval.low < interval.estimate && interval.estimate < interval.high);
/// assert_eq!(interval.n, 8);
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// Resamples; at least 2.
    pub resamples: usize,
    /// Nominal coverage, between 0 and 1.
    pub level: f64,
    /// Seed of the random draws.
    pub seed: u64,
    /// How the interval is computed.
    pub method: Method,
}

impl Default for Bootstrap {
    /// 2,000 resamples, level 0.95, seed 0, BCa.
    fn default() -> Self {
        Self { resamples: 2_000, level: 0.95, seed: 0, method: Method::default() }
    }
}

impl Bootstrap {
    /// Interval of a mean: of values, of hits (a proportion) or of paired differences. The sample's
    /// constructor decides whether rows or clusters are resampled.
    ///
    /// # Errors
    /// [`Error::TooFewUnits`] for a single row or cluster, [`Error::Setting`].
    pub fn mean(&self, sample: &Sample) -> Result<Interval> {
        let left_out = || (0..sample.units()).map(|unit| sample.mean_without(unit)).collect();
        let interval = self.interval(sample.units(), |drawn| sample.mean_of(drawn), left_out)?;
        Ok(Interval { n: sample.n(), ..interval })
    }

    /// Interval of any statistic of `units` independent units. `statistic` is passed the indices of the
    /// drawn units and returns its value for them. The estimate is its value for all units, each once.
    ///
    /// # Errors
    /// As [`Bootstrap::mean`]; [`Error::NotFinite`] if the statistic is NaN or infinite for a resample.
    pub fn statistic(&self, units: usize, statistic: impl Fn(&[usize]) -> f64 + Sync) -> Result<Interval> {
        let left_out = || {
            let without =
                |unit: usize| statistic(&(0..units).filter(|other| *other != unit).collect::<Vec<_>>());
            (0..units).into_par_iter().map(without).collect()
        };
        self.interval(units, &statistic, left_out)
    }

    /// The interval. `left_out` computes the statistic without each of the units in turn; only BCa calls
    /// it.
    fn interval(
        &self,
        units: usize,
        statistic: impl Fn(&[usize]) -> f64 + Sync,
        left_out: impl FnOnce() -> Vec<f64>,
    ) -> Result<Interval> {
        let tail = (1.0 - check_level(self.level)?) / 2.0;
        if self.resamples < 2 {
            return Err(Error::Setting {
                field: "resamples",
                got: self.resamples.to_string(),
                expected: "at least 2, preferably 2000",
            });
        }
        if units < 2 {
            return Err(Error::TooFewUnits { got: units });
        }
        let all: Vec<usize> = (0..units).collect();
        let estimate = statistic(&all);
        finite("the statistic", &[estimate])?;

        let resamples = (0..self.resamples).into_par_iter().map_init(
            || vec![0; units],
            |drawn, resample| {
                let mut rng = janus_core::stream(self.seed, "bootstrap");
                // Each resample has its own section of one stream, two words per draw, so it is the same
                // on any thread.
                rng.set_word_pos(2 * resample as u128 * units as u128);
                drawn.iter_mut().for_each(|slot| *slot = below(&mut rng, units));
                statistic(drawn)
            },
        );
        let mut values: Vec<f64> = resamples.collect();
        finite("the resampled statistic", &values)?;
        values.sort_by(f64::total_cmp);

        let (low, high) = match self.method {
            Method::Percentile => (tail, 1.0 - tail),
            Method::Bca => {
                let bias = bias(&values, estimate);
                let left_out = left_out();
                finite("the jackknifed statistic", &left_out)?;
                let acceleration = acceleration(&left_out);
                let moved = |z: f64| {
                    // The correction has a pole, which few units at a level near 1 can reach: clamp it
                    // there.
                    let shrink = (1.0 - acceleration * (bias + z)).max(f64::MIN_POSITIVE);
                    normal::cdf(bias + (bias + z) / shrink)
                };
                (moved(normal::quantile(tail)), moved(normal::quantile(1.0 - tail)))
            }
        };
        let (low, high) = (quantile(&values, low.min(high)), quantile(&values, high.max(low)));
        Ok(Interval { estimate, low, high, level: self.level, n: units })
    }
}

fn finite(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::NotFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}

/// A random index below `n`: the high half of a 64 by 64 bit product, with a negligible bias of
/// `n / 2^64`. The range draws of `rand` are not used, because they may return other values in another
/// version.
pub(crate) fn below(rng: &mut impl RngCore, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Normal quantile of the share of resamples below the estimate. Resamples equal to it count half, which
/// matters for proportions and other statistics with few distinct values.
fn bias(sorted: &[f64], estimate: f64) -> f64 {
    let below = sorted.partition_point(|value| *value < estimate);
    let equal = sorted.partition_point(|value| *value <= estimate) - below;
    let share = (below as f64 + equal as f64 / 2.0) / sorted.len() as f64;
    // At least half a resample is assumed on each side of the estimate, so that the quantile is finite.
    let least = 0.5 / sorted.len() as f64;
    normal::quantile(share.clamp(least, 1.0 - least))
}

/// A sixth of the jackknife's skewness (Efron and Tibshirani 1993, equation 14.15); 0 if its values are
/// equal.
fn acceleration(left_out: &[f64]) -> f64 {
    let mean = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let (squares, cubes) = left_out.iter().fold((0.0, 0.0), |(squares, cubes), value| {
        let away = mean - value;
        (squares + away * away, cubes + away * away * away)
    });
    if squares > 0.0 { cubes / (6.0 * squares * squares.sqrt()) } else { 0.0 }
}

/// Quantile with linear interpolation between order statistics (Hyndman and Fan's type 7).
pub(crate) fn quantile(sorted: &[f64], p: f64) -> f64 {
    let place = p * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor(), place.ceil());
    let (low, high) = (sorted[below as usize], sorted[above as usize]);
    low + (high - low) * (place - below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_numpy() {
        // numpy.quantile([1, 2, 4, 8], [0, .1, .5, .9, 1])
        let values = [1.0, 2.0, 4.0, 8.0];
        for (p, expected) in [(0.0, 1.0), (0.1, 1.3), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            assert!((quantile(&values, p) - expected).abs() < 1e-12, "{p}");
        }
    }

    #[test]
    fn the_bias_is_finite_without_a_resample_beyond_the_estimate() {
        assert!(bias(&[1.0, 1.0], 2.0).is_finite());
        assert!(bias(&[2.0, 2.0], 2.0).abs() < 1e-12);
        assert!(bias(&[1.0, 2.0, 3.0], 2.0).abs() < 1e-12);
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut rng = janus_core::stream(1, "test");
        let mut seen = [0; 5];
        (0..5_000).for_each(|_| seen[below(&mut rng, 5)] += 1);
        assert!(seen.iter().all(|&count| (900..1_100).contains(&count)), "{seen:?}");
    }
}
