//! The optimiser that the published length-controlled win rates were computed with.
//!
//! It is the "newGLMNET" method of Yuan, Ho and Lin (2012), "An Improved GLMNET for L1-regularized
//! Logistic Regression" (JMLR 13), with the details of LIBLINEAR that decide where it stops. It stops
//! before convergence, so its weights depend on the tolerance, the order of the coordinates and the
//! random generator.

use super::logistic::{check_c, coordinate_violation, norm, step};
use super::{L1Logistic, Mt19937};
use crate::{Error, Result};

/// Stopping rule and seed of [`L1Logistic::newglmnet`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NewGlmnet {
    /// The sum of violations at which it stops, as a share of the sum at the start.
    pub(crate) tolerance: f64,
    /// The maximum number of Newton steps.
    pub(crate) steps: usize,
    /// Seed of the Mersenne Twister that orders the coordinates.
    pub(crate) seed: u32,
}

const SWEEPS: usize = 1_000;
const HALVINGS: usize = 20;
const RIDGE: f64 = 1e-12;

/// The state of the objective's smooth part: `e^η` of each row at the current weights.
struct State<'a, const D: usize> {
    rows: &'a L1Logistic<D>,
    c: f64,
    exp_eta: Vec<f64>,
}

impl<const D: usize> L1Logistic<D> {
    /// The weights at which LIBLINEAR's solver stops when scikit-learn calls it: it starts from 0, and
    /// every row is a success of weight s·p and a failure of weight s·(1 − p).
    ///
    /// These pairs of rows are never stored: they have the same features, so their sums over e^η are
    /// those of one row. The inner problem has `D` unknowns, so it uses the `D` by `D` Hessian instead
    /// of the rows.
    ///
    /// # Errors
    /// [`Error::Setting`] for a `c` or a tolerance that is not above 0.
    pub(crate) fn newglmnet(&self, c: f64, settings: &NewGlmnet) -> Result<[f64; D]> {
        check_c(c)?;
        if settings.tolerance.is_nan() || settings.tolerance <= 0.0 {
            let got = settings.tolerance.to_string();
            return Err(Error::Setting { field: "tolerance", got, expected: "a number above 0" });
        }
        let successes = self.rows.iter().filter(|row| row.target > 0.0).count();
        let failures = self.rows.iter().filter(|row| row.target < 1.0).count();
        let pairs = (successes + failures) as f64;
        let tolerance = settings.tolerance * successes.min(failures).max(1) as f64 / pairs;

        let mut generator = Mt19937::new(settings.seed);
        let mut state = State { rows: self, c, exp_eta: vec![1.0; self.rows.len()] };
        let mut w = [0.0; D];
        let mut order: [usize; D] = std::array::from_fn(|j| j);
        let (mut previous_worst, mut at_start, mut inner_share) = (f64::INFINITY, 0.0, 1.0);
        for iteration in 0..settings.steps {
            let (gradient, hessian) = state.derivatives();
            let (mut worst, mut sum) = (0.0_f64, 0.0);
            let active = retain_active(&mut order, D, |j| {
                let violation = coordinate_violation(w[j], gradient[j]);
                if w[j] == 0.0 && violation == 0.0 && gradient[j].abs() < 1.0 - previous_worst / pairs {
                    return false;
                }
                worst = worst.max(violation);
                sum += violation;
                true
            });
            if iteration == 0 {
                at_start = sum;
            }
            if sum <= tolerance * at_start {
                break;
            }
            let inner = Inner { gradient, hessian, pairs, enough: inner_share * at_start };
            let (goal, sweeps) = inner.solve(&w, &mut order, active, &mut generator);
            state.search(&mut w, goal, &gradient);
            if sweeps == 1 {
                inner_share *= 0.25;
            }
            previous_worst = worst;
        }
        Ok(w)
    }
}

/// Moves the coordinates for which `keep` is true to the front, and returns their number. A dropped
/// coordinate swaps places with the last one that is not yet visited.
fn retain_active(order: &mut [usize], mut active: usize, mut keep: impl FnMut(usize) -> bool) -> usize {
    let mut place = 0;
    while place < active {
        if keep(order[place]) {
            place += 1;
        } else {
            active -= 1;
            order.swap(place, active);
        }
    }
    active
}

/// The quadratic model around the current weights, penalty included.
struct Inner<const D: usize> {
    gradient: [f64; D],
    hessian: [[f64; D]; D],
    pairs: f64,
    enough: f64,
}

impl<const D: usize> Inner<D> {
    /// Coordinate descent in a new random order for each sweep. Returns the weights and the number of
    /// sweeps.
    fn solve(
        &self,
        w: &[f64; D],
        order: &mut [usize; D],
        active: usize,
        generator: &mut Mt19937,
    ) -> ([f64; D], usize) {
        let mut goal = *w;
        let mut left = active;
        let mut previous_worst = f64::INFINITY;
        for sweep in 1..=SWEEPS {
            for place in 0..left {
                order.swap(place, place + generator.below((left - place) as u32) as usize);
            }
            let (mut worst, mut sum) = (0.0_f64, 0.0);
            left = retain_active(order, left, |j| {
                let slope =
                    self.gradient[j] + (0..D).map(|k| self.hessian[j][k] * (goal[k] - w[k])).sum::<f64>();
                let violation = coordinate_violation(goal[j], slope);
                if goal[j] == 0.0 && violation == 0.0 && slope.abs() < 1.0 - previous_worst / self.pairs {
                    return false;
                }
                worst = worst.max(violation);
                sum += violation;
                let step = step(goal[j], slope, self.hessian[j][j]);
                if step.abs() >= 1e-12 {
                    goal[j] += step.clamp(-10.0, 10.0);
                }
                true
            });
            if sum > self.enough {
                previous_worst = worst;
            } else if left == active {
                return (goal, sweep);
            } else {
                // The remaining coordinates have converged: check all active ones once more.
                (left, previous_worst) = (active, f64::INFINITY);
            }
        }
        (goal, SWEEPS)
    }
}

impl<const D: usize> State<'_, D> {
    #[expect(clippy::needless_range_loop, reason = "j and k index a matrix")]
    fn derivatives(&self) -> ([f64; D], [[f64; D]; D]) {
        let (mut gradient, mut hessian) = ([0.0; D], [[0.0; D]; D]);
        for (row, &exp_eta) in self.rows.rows.iter().zip(&self.exp_eta) {
            let failure = 1.0 / (1.0 + exp_eta);
            let slope = row.weight * (1.0 - row.target - failure);
            let curvature = row.weight * exp_eta * failure * failure;
            for j in 0..D {
                gradient[j] += slope * row.x[j];
                for k in 0..=j {
                    hessian[j][k] += curvature * row.x[j] * row.x[k];
                }
            }
        }
        gradient.iter_mut().for_each(|part| *part *= self.c);
        for j in 0..D {
            for k in 0..=j {
                hessian[j][k] *= self.c;
                hessian[k][j] = hessian[j][k];
            }
            hessian[j][j] += RIDGE;
        }
        (gradient, hessian)
    }

    /// Line search from `w` towards `goal`: halves the step until the objective falls by enough. `w`
    /// stays unchanged if twenty halvings are not enough.
    fn search(&mut self, w: &mut [f64; D], mut goal: [f64; D], gradient: &[f64; D]) {
        let before = norm(w);
        let mut predicted: f64 =
            (0..D).map(|j| gradient[j] * (goal[j] - w[j])).sum::<f64>() + norm(&goal) - before;
        let step: [f64; D] = std::array::from_fn(|j| goal[j] - w[j]);
        let mut moved: Vec<f64> =
            self.rows.rows.iter().map(|row| (0..D).map(|j| step[j] * row.x[j]).sum()).collect();
        let mut next = vec![0.0; moved.len()];
        for _ in 0..HALVINGS {
            let mut change = norm(&goal) - before - 0.01 * predicted;
            for (((row, &moved), &exp_eta), next) in
                self.rows.rows.iter().zip(&moved).zip(&self.exp_eta).zip(&mut next)
            {
                let factor = moved.exp();
                *next = exp_eta * factor;
                let drop = (1.0 - row.target) * moved + ((1.0 + *next) / (factor + *next)).ln();
                change += self.c * row.weight * drop;
            }
            if change <= 0.0 {
                *w = goal;
                self.exp_eta = next;
                return;
            }
            goal = std::array::from_fn(|j| 0.5 * (w[j] + goal[j]));
            predicted *= 0.5;
            moved.iter_mut().for_each(|moved| *moved *= 0.5);
        }
        for (row, exp_eta) in self.rows.rows.iter().zip(&mut self.exp_eta) {
            *exp_eta = (0..D).map(|j| w[j] * row.x[j]).sum::<f64>().exp();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::LogisticRow;
    use super::*;

    const SETTINGS: NewGlmnet = NewGlmnet { tolerance: 1e-12, steps: 1_000, seed: 1 };

    #[test]
    fn a_tolerance_that_is_not_positive_is_refused() {
        let data = L1Logistic::new(vec![LogisticRow { x: [1.0], target: 0.5, weight: 1.0 }]).unwrap();
        for tolerance in [0.0, -1.0, f64::NAN] {
            assert!(matches!(
                data.newglmnet(1.0, &NewGlmnet { tolerance, ..SETTINGS }),
                Err(Error::Setting { field: "tolerance", .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn with_a_tight_tolerance_it_finds_the_exact_minimum(
            rows in proptest::collection::vec((-2.0_f64..2.0, 0.0_f64..=1.0, 0.1_f64..2.0), 4..40),
            log_c in -2.0_f64..2.0,
        ) {
            let rows = rows.into_iter().enumerate().map(|(i, (a, target, weight))| {
                LogisticRow { x: [a, (i % 3) as f64 - 1.0, 1.0], target, weight }
            });
            let data = L1Logistic::new(rows.collect()).unwrap();
            let c = 10_f64.powf(log_c);
            let (exact, found) = (data.exact(c, [0.0; 3]).unwrap(), data.newglmnet(c, &SETTINGS).unwrap());
            for (exact, found) in exact.iter().zip(found) {
                prop_assert!((exact - found).abs() < 1e-4 * exact.abs().max(1.0), "{exact} and {found}");
            }
        }
    }
}
