//! Statistics: intervals and agreement. All of it is deterministic: the same data and seed give the same
//! digits on any machine and any number of threads.
//!
//! * [`Bootstrap`] over rows or clusters, and [`wilson`]'s closed-form interval of a proportion.
//! * [`cohen_kappa`], [`fleiss_kappa`], [`krippendorff_alpha`], [`pearson`], [`spearman`]: agreement of
//!   raters.

mod agreement;
mod bootstrap;
mod bradley_terry;
mod logistic;
mod mersenne;
mod newglmnet;
mod normal;
mod sample;

use serde::{Deserialize, Serialize};

pub use agreement::{
    LevelOfMeasurement, Weighting, cohen_kappa, fleiss_kappa, krippendorff_alpha, pearson, spearman,
};
pub use bootstrap::{Bootstrap, Method};
pub(crate) use bootstrap::{below, quantile};
pub(crate) use bradley_terry::BradleyTerry;
pub(crate) use logistic::{L1Logistic, LogisticRow};
pub(crate) use mersenne::Mt19937;
pub(crate) use newglmnet::NewGlmnet;
pub use sample::Sample;

use crate::{Error, Result};

/// An estimate and its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate from all rows.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Nominal coverage, e.g. 0.95.
    pub level: f64,
    /// Number of rows behind the estimate.
    pub n: usize,
}

impl Interval {
    /// The same interval in another unit: everything times `factor`, e.g. 100 for percent.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        let (a, b) = (self.low * factor, self.high * factor);
        Self { estimate: self.estimate * factor, low: a.min(b), high: a.max(b), ..self }
    }
}

/// Wilson's score interval for `hits` of `n` (Wilson 1927). The closed form stays inside 0..1, and has a
/// positive width at 0 and at `n` hits, where the bootstrap's interval is a point. For independent rows
/// only.
///
/// # Errors
/// [`Error::Empty`] if `n` is 0, [`Error::Setting`] for more hits than rows or a level outside 0..1.
///
/// ```
/// let interval = janus_eval::stats::wilson(10, 10, 0.95)?;
/// assert!(interval.low < 0.73 && interval.high == 1.0);
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn wilson(hits: usize, n: usize, level: f64) -> Result<Interval> {
    if n == 0 {
        return Err(Error::Empty { what: "a proportion" });
    }
    if hits > n {
        return Err(Error::Setting { field: "hits", got: hits.to_string(), expected: "at most n" });
    }
    let z = normal::quantile(0.5 + check_level(level)? / 2.0);
    let (p, rows) = (hits as f64 / n as f64, n as f64);
    let scale = 1.0 + z * z / rows;
    let centre = (p + z * z / (2.0 * rows)) / scale;
    let half = z / scale * (p * (1.0 - p) / rows + z * z / (4.0 * rows * rows)).sqrt();
    let low = if hits == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if hits == n { 1.0 } else { (centre + half).min(1.0) };
    Ok(Interval { estimate: p, low, high, level, n })
}

/// Mean of values, summed in ascending order so that it does not depend on their input order; `None`
/// without a value.
pub(crate) fn mean_in_order(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn check_level(level: f64) -> Result<f64> {
    if level > 0.0 && level < 1.0 {
        Ok(level)
    } else {
        Err(Error::Setting {
            field: "level",
            got: level.to_string(),
            expected: "a number between 0 and 1, such as 0.95",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_has_the_textbook_values() {
        // Newcombe (1998), Statistics in Medicine 17, Table I, method 3: 81/263, 15/148, 0/20, 1/29.
        for (hits, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = wilson(hits, n, 0.95).unwrap();
            assert!(
                (interval.low - low).abs() < 5e-5 && (interval.high - high).abs() < 5e-5,
                "{hits}/{n}: {interval:?}"
            );
        }
    }

    #[test]
    fn a_level_outside_its_range_is_refused() {
        for level in [0.0, 1.0, 95.0, f64::NAN] {
            assert!(wilson(1, 2, level).is_err(), "{level}");
        }
        assert!(wilson(3, 2, 0.95).is_err() && wilson(0, 0, 0.95).is_err());
    }

    #[test]
    fn a_negative_factor_keeps_low_below_high() {
        let interval = Interval { estimate: 0.2, low: 0.1, high: 0.4, level: 0.95, n: 3 }.scaled(-10.0);
        assert_eq!((interval.low, interval.estimate, interval.high), (-4.0, -2.0, -1.0));
    }
}
