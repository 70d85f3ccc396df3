//! The length-controlled win rate: a logistic regression of the preference, evaluated at equal length.
//!
//! Features of a row, without an intercept: tanh of the difference of lengths (baseline minus model) in
//! standard deviations; the instruction's difficulty; 1 for the model's rows and 0 for the gamed rows.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::preference::CheckedAnnotation;
use super::reference::FOLDS;
use super::win_rate::percent;
use super::{AlpacaReference, Preferences, WinRate};
use crate::stats::{L1Logistic, LogisticRow, Mt19937, NewGlmnet};
use crate::{Error, Result};

/// Weight of a gamed row; a model's row has weight 1.
const GAMED_WEIGHT: f64 = 0.1;
/// The grid of C: 10^(-4 + 8j/9), with the digits of NumPy's `logspace`.
const GRID: [f64; 10] = [
    0.0001,
    0.000774263682681127,
    0.005994842503189409,
    0.046415888336127774,
    0.3593813663804626,
    2.782559402207126,
    21.54434690031882,
    166.81005372000558,
    1291.5496650148827,
    10000.0,
];
/// Seed of the official fit: a NumPy generator with this seed draws the solver's seeds.
const OFFICIAL_SEED: u32 = 123;

type Row = LogisticRow<3>;

/// Where the difficulty of a row comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DifficultyOf {
    /// From the row's instruction.
    #[default]
    Instruction,
    /// From the instruction whose index is the row's position in the list of annotations, as in the
    /// official numbers. If all rows are present, it is the same. After a missing row, every row has the
    /// difficulty of a neighbour.
    Position,
}

/// The optimiser of the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Converges to the minimum.
    #[default]
    Exact,
    /// Stops where the official optimiser stops, up to 0.016 points of win rate away from the minimum.
    Liblinear,
}

/// Settings of the length control. The default cross-validates C, and differs from the official settings
/// where those depend on accidents: row positions and early stopping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LengthControl {
    /// The inverse strength of the penalty; `None` for cross-validation. Values from 2.78 on hardly
    /// differ in loss, but change the result by up to 0.13 points.
    pub c: Option<f64>,
    /// Where the difficulty of a row comes from.
    pub difficulty: DifficultyOf,
    /// The optimiser of the weights.
    pub optimizer: Optimizer,
}

/// The length-controlled win rate of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LengthControlled {
    /// Mean predicted preference for the model at equal length, in percent.
    pub length_controlled_winrate: f64,
    /// Standard error of the predictions over instructions. It ignores the uncertainty of the weights.
    pub lc_standard_error: f64,
    /// The C of the fit; `None` if all answers are the baseline's, and nothing is fitted.
    #[serde(rename = "C")]
    pub c: Option<f64>,
    /// Weights of length, difficulty, and the model.
    pub weights: [f64; 3],
}

impl LengthControlled {
    /// Whether the regression may have failed: the result differs from the plain win rate by more than
    /// 10 points, and by more than a quarter of the plain win rate's distance to 0 or 100.
    pub(super) fn is_suspicious(&self, plain: &WinRate) -> bool {
        let moved = self.length_controlled_winrate - plain.win_rate;
        let room = if moved > 0.0 { 100.0 - plain.win_rate } else { plain.win_rate };
        moved.abs() > 10.0 && moved.abs() > room / 4.0
    }
}

impl LengthControl {
    /// Fits the regression and predicts the win rate.
    ///
    /// A model whose answers are all equal to the baseline's has a win rate of 50 by definition. If all
    /// answers are as long as the baseline's, the length feature is 0.
    ///
    /// # Errors
    /// [`Error::Empty`] without a preference, [`Error::TooFewUnits`] with a single one;
    /// [`Error::Setting`] for a C that is not above 0; [`Error::Reference`] for a position that has no
    /// difficulty; [`Error::NotConverged`].
    pub(crate) fn win_rate(
        &self,
        preferences: &Preferences,
        reference: &AlpacaReference,
    ) -> Result<LengthControlled> {
        let judged: Vec<&CheckedAnnotation> =
            preferences.rows.iter().filter(|row| row.preference.is_some()).collect();
        if judged.len() < 2 {
            return Err(if judged.is_empty() {
                Error::Empty { what: "a length-controlled win rate without preferences" }
            } else {
                Error::TooFewUnits { got: 1 }
            });
        }
        if judged.iter().all(|row| row.same) {
            return Ok(LengthControlled {
                length_controlled_winrate: 50.0,
                lc_standard_error: 0.0,
                c: None,
                weights: [0.0; 3],
            });
        }
        let difficulties =
            judged.iter().map(|row| self.difficulty(row, reference)).collect::<Result<Vec<f64>>>()?;
        let rows = training_rows(&judged, &difficulties, reference);
        let c = match self.c {
            Some(c) => c,
            None => self.cross_validate(&rows, &folds(judged.len(), reference))?,
        };
        let seed = solver_seeds().next().unwrap_or_default();
        let weights = self.fit(&L1Logistic::new(rows)?, c, [0.0; 3], seed)?;
        let (rate, error) = predict(weights, &difficulties)?;
        Ok(LengthControlled {
            length_controlled_winrate: rate,
            lc_standard_error: error,
            c: Some(c),
            weights,
        })
    }

    fn difficulty(&self, row: &CheckedAnnotation, reference: &AlpacaReference) -> Result<f64> {
        let place = match self.difficulty {
            DifficultyOf::Instruction => row.index,
            DifficultyOf::Position => row.position,
        };
        reference.instructions.get(place).map(|instruction| instruction.difficulty).ok_or_else(|| {
            let expected = format!("0 to {}", reference.instructions.len() - 1);
            Error::reference(format!("position of instruction {}", row.index), expected, place)
        })
    }

    fn fit(&self, data: &L1Logistic<3>, c: f64, start: [f64; 3], seed: u32) -> Result<[f64; 3]> {
        match self.optimizer {
            Optimizer::Exact => data.exact(c, start),
            Optimizer::Liblinear => data.newglmnet(c, &NewGlmnet { tolerance: 1e-4, steps: 100, seed }),
        }
    }

    /// The C of the grid with the lowest mean loss on held-out folds.
    fn cross_validate(&self, rows: &[Row], folds: &[usize]) -> Result<f64> {
        let seeds: Vec<u32> = solver_seeds().take(GRID.len()).collect();
        let losses = (0..FOLDS).into_par_iter().map(|fold| -> Result<[f64; GRID.len()]> {
            let part = |inside: bool| -> Result<L1Logistic<3>> {
                let rows =
                    rows.iter().zip(folds).filter(|(_, of)| (**of == fold) == inside).map(|(row, _)| *row);
                L1Logistic::new(rows.collect())
            };
            let (held_out, data) = (part(true)?, part(false)?);
            let mut losses = [0.0; GRID.len()];
            let mut weights = [0.0; 3];
            for ((loss, &c), &seed) in losses.iter_mut().zip(&GRID).zip(&seeds) {
                weights = self.fit(&data, c, weights, seed)?;
                *loss = held_out.mean_loss(&weights);
            }
            Ok(losses)
        });
        let losses = losses.collect::<Result<Vec<_>>>()?;
        let mean = |place: usize| losses.iter().map(|fold| fold[place]).sum::<f64>() / FOLDS as f64;
        let mut best = 0;
        for place in 1..GRID.len() {
            if mean(place) < mean(best) {
                best = place;
            }
        }
        Ok(GRID[best])
    }
}

/// The length-controlled win rate that the weights predict for instructions of these difficulties, and
/// its standard error, in percent. The first weight, that of the length, has no effect because the
/// lengths are equal.
pub(crate) fn predict(
    [_, difficulty_weight, model_weight]: [f64; 3],
    difficulties: &[f64],
) -> Result<(f64, f64)> {
    let predicted: Vec<f64> = difficulties
        .iter()
        .map(|difficulty| 1.0 / (1.0 + (-(difficulty_weight * difficulty + model_weight)).exp()))
        .collect();
    percent(&predicted)
}

/// The gamed rows, then the model's.
fn training_rows(
    judged: &[&CheckedAnnotation],
    difficulties: &[f64],
    reference: &AlpacaReference,
) -> Vec<Row> {
    let deltas: Vec<f64> = judged.iter().map(|row| row.baseline_length as f64 - row.length as f64).collect();
    let n = deltas.len() as f64;
    let mean = deltas.iter().sum::<f64>() / n;
    let sd = (deltas.iter().map(|delta| (delta - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let gamed = reference.gamed.iter().map(|row| Row {
        x: [row.std_delta_len.tanh(), row.difficulty, 0.0],
        target: row.preference,
        weight: GAMED_WEIGHT,
    });
    let own = judged.iter().zip(difficulties).zip(&deltas).map(|((row, difficulty), delta)| Row {
        x: [if sd > 0.0 { (delta / sd).tanh() } else { 0.0 }, *difficulty, 1.0],
        target: row.preference.map_or(0.5, |preference| preference - 1.0),
        weight: 1.0,
    });
    gamed.chain(own).collect()
}

/// The fold of every row: from the reference data if the model has all rows, otherwise 0 to 4 in
/// rotation.
fn folds(own: usize, reference: &AlpacaReference) -> Vec<usize> {
    if own == reference.folds.len() {
        reference.gamed.iter().map(|row| row.fold).chain(reference.folds.iter().copied()).collect()
    } else {
        let n = reference.gamed.len() + own;
        (0..n).map(|row| (n - 1 - row) % FOLDS).collect()
    }
}

/// The successive draws of NumPy's `RandomState(123).randint(2^31 - 1)`. Within a fold, each value of C
/// uses the next one; the final fit uses the first.
fn solver_seeds() -> impl Iterator<Item = u32> {
    let mut generator = Mt19937::new(OFFICIAL_SEED);
    std::iter::repeat_with(move || generator.next_u32() & 0x7fff_ffff).filter(|seed| *seed < 0x7fff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solvers_seeds_match_the_published_ones() {
        let seeds: Vec<u32> = solver_seeds().take(3).collect();
        assert_eq!(seeds, [843_828_734, 914_636_141, 1_228_959_102]);
    }

    #[test]
    fn the_grid_is_a_geometric_series() {
        for (j, c) in GRID.iter().enumerate() {
            assert!((c / 10_f64.powf(-4.0 + 8.0 * j as f64 / 9.0) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn weights_of_the_length_alone_predict_half() {
        assert_eq!(predict([1.0, 0.0, 0.0], &[0.0, 1.0, -1.0]).unwrap(), (50.0, 0.0));
        assert!(predict([0.0; 3], &[1.0]).is_err());
    }
}
