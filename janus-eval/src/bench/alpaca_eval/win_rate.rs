//! The win rate and the metrics reported with it.

use serde::Serialize;

use super::Preferences;
use crate::{Error, Result};

/// The plain metrics of a model; rates in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct WinRate {
    /// Mean preference for the model.
    pub win_rate: f64,
    /// Its standard error over instructions (divisor n - 1).
    pub standard_error: f64,
    /// Instructions on which the judge prefers the model.
    pub n_wins: usize,
    /// Instructions on which it prefers the baseline.
    pub n_wins_base: usize,
    /// Instructions on which it prefers neither.
    pub n_draws: usize,
    /// Instructions with a preference.
    pub n_total: usize,
    /// The win rate with every preference rounded to a win, a tie or a loss.
    pub discrete_win_rate: f64,
    /// Mean length of the answers in code points over all instructions, rounded down. An instruction
    /// without a row counts as an empty answer, because the judge is not called for an empty answer.
    pub avg_length: usize,
    /// Instructions without a preference.
    pub missing: usize,
}

impl WinRate {
    /// The metrics of a model's preferences.
    ///
    /// # Errors
    /// [`Error::Empty`] without a preference, [`Error::TooFewUnits`] with a single one, which has no
    /// standard error.
    pub(crate) fn of(preferences: &Preferences) -> Result<Self> {
        let wins: Vec<f64> = preferences.wins().collect();
        if wins.is_empty() {
            return Err(Error::Empty { what: "a win rate without preferences" });
        }
        let (mean, standard_error) = percent(&wins)?;
        let discrete: f64 =
            wins.iter().map(|&win| if win == 0.5 { 0.5 } else { f64::from(u8::from(win > 0.5)) }).sum();
        let length: usize = preferences.rows.iter().map(|row| row.length).sum();
        Ok(Self {
            win_rate: mean,
            standard_error,
            n_wins: wins.iter().filter(|&&win| win > 0.5).count(),
            n_wins_base: wins.iter().filter(|&&win| win < 0.5).count(),
            n_draws: wins.iter().filter(|&&win| win == 0.5).count(),
            n_total: wins.len(),
            discrete_win_rate: 100.0 * discrete / wins.len() as f64,
            avg_length: length / preferences.instructions,
            missing: preferences.missing(),
        })
    }
}

/// Mean and standard error over rows (divisor n - 1), times 100.
pub(super) fn percent(values: &[f64]) -> Result<(f64, f64)> {
    if values.len() < 2 {
        return Err(Error::TooFewUnits { got: values.len() });
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Ok((100.0 * mean, 100.0 * (squares / (n - 1.0)).sqrt() / n.sqrt()))
}
