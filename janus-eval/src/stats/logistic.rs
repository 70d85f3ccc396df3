//! Logistic regression with an L1 penalty, soft targets and row weights.

use crate::{Error, Result};

/// One observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogisticRow<const D: usize> {
    /// The features; a constant feature serves as the intercept.
    pub(crate) x: [f64; D],
    /// The share of successes, 0 to 1.
    pub(crate) target: f64,
    /// The row's weight in the loss, 0 or more.
    pub(crate) weight: f64,
}

/// Observations of `D` features for the problem
///
/// minimise over w: |w₁| + … + |w_D| + C · Σ s · (ln(1 + e^η) − p η), η = w · x
///
/// for rows with features x, target p and weight s. The penalty bounds the weights w even for separable
/// rows, so a minimum always exists.
///
/// There are two solvers: [`L1Logistic::exact`], and [`L1Logistic::newglmnet`], which stops as early as
/// the library that the published numbers were computed with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct L1Logistic<const D: usize> {
    pub(super) rows: Vec<LogisticRow<D>>,
}

/// A step with a predicted decrease below this share of the objective is the last one. Newton's method
/// converges quadratically, so the decrease that remains after it is below the rounding error.
const NEAR: f64 = 1e-12;

/// Value, gradient and Hessian of the objective's smooth part at one point.
struct Local<const D: usize> {
    loss: f64,
    gradient: [f64; D],
    hessian: [[f64; D]; D],
}

impl<const D: usize> L1Logistic<D> {
    const ITERATIONS: usize = 200;

    /// Checks the observations. Rows of weight 0 have no effect and are left out.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::Row`] for a target outside 0..=1 or a negative weight;
    /// [`Error::Empty`] if all weights are 0.
    pub(crate) fn new(mut rows: Vec<LogisticRow<D>>) -> Result<Self> {
        for (index, row) in rows.iter().enumerate() {
            if let Some(&value) =
                row.x.iter().chain([&row.target, &row.weight]).find(|value| !value.is_finite())
            {
                return Err(Error::NotFinite { what: "a logistic regression's rows", index, value });
            }
            if !(0.0..=1.0).contains(&row.target) {
                return Err(Error::row(index, "target", "a number from 0 to 1", row.target));
            }
            if row.weight < 0.0 {
                return Err(Error::row(index, "weight", "0 or more", row.weight));
            }
        }
        rows.retain(|row| row.weight > 0.0);
        if rows.is_empty() { Err(Error::Empty { what: "a logistic regression" }) } else { Ok(Self { rows }) }
    }

    /// The minimiser, to rounding error. Each Newton step minimises the quadratic model including the
    /// penalty, and is shortened until the objective falls. `start` may be the solution of a similar
    /// problem.
    ///
    /// # Errors
    /// [`Error::Setting`] for a `c` that is not above 0, [`Error::NotConverged`].
    pub(crate) fn exact(&self, c: f64, start: [f64; D]) -> Result<[f64; D]> {
        check_c(c)?;
        // Smaller values of the gradient's sums are indistinguishable from 0.
        let scale: f64 = self
            .rows
            .iter()
            .map(|row| row.weight * row.x.iter().fold(1.0, |max: f64, x| max.max(x.abs())))
            .sum();
        let enough = 1e-14 * c * scale + 1e-13;
        let mut w = start;
        let mut here = self.local(&w, c);
        for _ in 0..Self::ITERATIONS {
            if violation(&w, &here.gradient) <= enough {
                return Ok(w);
            }
            let goal = quadratic_minimum(&w, &here);
            let mut step: [f64; D] = std::array::from_fn(|j| goal[j] - w[j]);
            let mut predicted = dot(&here.gradient, &step) + norm(&goal) - norm(&w);
            let objective = here.loss + norm(&w);
            if predicted >= -NEAR * objective.abs() {
                return Ok(goal);
            }
            loop {
                let next: [f64; D] = std::array::from_fn(|j| w[j] + step[j]);
                let there = self.local(&next, c);
                if there.loss + norm(&next) <= objective + 0.01 * predicted {
                    (w, here) = (next, there);
                    break;
                }
                step.iter_mut().for_each(|part| *part *= 0.5);
                predicted *= 0.5;
                if predicted > -f64::EPSILON * objective.abs() {
                    // Any further decrease is below the rounding error.
                    return Ok(w);
                }
            }
        }
        Err(Error::NotConverged { what: "a logistic regression", iterations: Self::ITERATIONS })
    }

    /// Mean over rows of `s · (ln(1 + e^η) − p η)`, the loss of the weights `w` on these rows.
    pub(crate) fn mean_loss(&self, w: &[f64; D]) -> f64 {
        let sum: f64 = self.rows.iter().map(|row| row.weight * loss(dot(w, &row.x), row.target)).sum();
        sum / self.rows.len() as f64
    }

    fn local(&self, w: &[f64; D], c: f64) -> Local<D> {
        let mut local = Local { loss: 0.0, gradient: [0.0; D], hessian: [[0.0; D]; D] };
        for row in &self.rows {
            let eta = dot(w, &row.x);
            let small = (-eta.abs()).exp();
            let rest = 1.0 / (1.0 + small);
            let p = if eta > 0.0 { rest } else { small * rest };
            // No `ln_1p`: 1 + small is in 1..=2, where `ln` is exact enough for the sum.
            local.loss += row.weight * (eta.max(0.0) + (1.0 + small).ln() - row.target * eta);
            let (slope, curvature) = (row.weight * (p - row.target), row.weight * small * rest * rest);
            for j in 0..D {
                local.gradient[j] += slope * row.x[j];
                for k in 0..=j {
                    local.hessian[j][k] += curvature * row.x[j] * row.x[k];
                }
            }
        }
        local.loss *= c;
        local.gradient.iter_mut().for_each(|part| *part *= c);
        for j in 0..D {
            for k in 0..=j {
                local.hessian[j][k] *= c;
                local.hessian[k][j] = local.hessian[j][k];
            }
            // Avoids a division by 0 for a feature that is always 0.
            local.hessian[j][j] += 1e-12;
        }
        local
    }
}

/// Minimises the quadratic model around `w`, penalty included, by coordinate descent.
fn quadratic_minimum<const D: usize>(w: &[f64; D], local: &Local<D>) -> [f64; D] {
    let mut goal = *w;
    for _ in 0..10_000 {
        let mut moved = 0.0_f64;
        for j in 0..D {
            let slope: f64 =
                local.gradient[j] + (0..D).map(|k| local.hessian[j][k] * (goal[k] - w[k])).sum::<f64>();
            let curvature = local.hessian[j][j];
            let step = step(goal[j], slope, curvature);
            goal[j] += step;
            moved = moved.max((step * curvature).abs());
        }
        if moved <= 1e-16 {
            break;
        }
        // Steps this small no longer change the weights.
        if goal.iter().all(|part| part.is_finite()) && moved <= 1e-15 * norm(&local.gradient) {
            break;
        }
    }
    goal
}

/// The step of one coordinate to the minimum of its quadratic model and penalty (soft thresholding).
pub(super) fn step(at: f64, slope: f64, curvature: f64) -> f64 {
    if slope + 1.0 < curvature * at {
        -(slope + 1.0) / curvature
    } else if slope - 1.0 > curvature * at {
        -(slope - 1.0) / curvature
    } else {
        -at
    }
}

/// The violation of the optimality condition in one coordinate: the distance of the negative gradient to
/// the subdifferential of |w|.
pub(super) fn coordinate_violation(w: f64, gradient: f64) -> f64 {
    if w == 0.0 { (gradient.abs() - 1.0).max(0.0) } else { (gradient + w.signum()).abs() }
}

fn violation<const D: usize>(w: &[f64; D], gradient: &[f64; D]) -> f64 {
    w.iter().zip(gradient).map(|(&w, &gradient)| coordinate_violation(w, gradient)).sum()
}

/// `ln(1 + e^η) − p η`.
fn loss(eta: f64, target: f64) -> f64 {
    eta.max(0.0) + (-eta.abs()).exp().ln_1p() - target * eta
}

pub(super) fn check_c(c: f64) -> Result<()> {
    if c > 0.0 && c.is_finite() {
        Ok(())
    } else {
        Err(Error::Setting { field: "C", got: c.to_string(), expected: "a number above 0" })
    }
}

pub(super) fn dot<const D: usize>(a: &[f64; D], b: &[f64; D]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn norm<const D: usize>(w: &[f64; D]) -> f64 {
    w.iter().map(|part| part.abs()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn success_in_three_of_four_trials_has_a_weight_of_ln_3() {
        let data = L1Logistic::new(vec![LogisticRow { x: [1.0], target: 0.75, weight: 4.0 }]).unwrap();
        let [w] = data.exact(1e6, [0.0]).unwrap();
        assert!((w - 3.0_f64.ln()).abs() < 1e-5);
    }

    fn row(x: [f64; 2], target: f64, weight: f64) -> LogisticRow<2> {
        LogisticRow { x, target, weight }
    }

    #[test]
    fn rows_are_checked() {
        let new = |x, target, weight| L1Logistic::new(vec![row([x, 1.0], target, weight)]);
        assert!(matches!(new(f64::NAN, 0.5, 1.0), Err(Error::NotFinite { index: 0, .. })));
        assert!(matches!(new(1.0, 1.5, 1.0), Err(Error::Row { row: 1, field: "target", .. })));
        assert!(matches!(new(1.0, 0.5, -1.0), Err(Error::Row { row: 1, field: "weight", .. })));
        assert_eq!(new(1.0, 0.5, 0.0).unwrap_err(), Error::Empty { what: "a logistic regression" });
        assert!(new(1.0, 0.5, 1.0).unwrap().exact(0.0, [0.0; 2]).is_err());
    }

    #[test]
    fn a_small_c_gives_weights_of_zero() {
        let data = L1Logistic::new(vec![row([1.0, 2.0], 1.0, 1.0), row([-1.0, 0.5], 0.0, 1.0)]).unwrap();
        assert_eq!(data.exact(0.1, [3.0, -3.0]).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn separable_rows_have_finite_weights() {
        let data = L1Logistic::new(vec![row([1.0, 0.0], 1.0, 1.0), row([-1.0, 0.0], 0.0, 1.0)]).unwrap();
        let [w, unused] = data.exact(10.0, [0.0; 2]).unwrap();
        // 1 = 2 C / (1 + e^w).
        assert!((w - 19.0_f64.ln()).abs() < 1e-9, "{w}");
        assert_eq!(unused, 0.0);
    }

    fn objective(rows: &[LogisticRow<2>], w: &[f64; 2], c: f64) -> f64 {
        norm(w) + c * rows.iter().map(|row| row.weight * loss(dot(w, &row.x), row.target)).sum::<f64>()
    }

    proptest! {
        #[test]
        fn no_neighbour_has_a_lower_objective(
            rows in proptest::collection::vec((-2.0_f64..2.0, -2.0_f64..2.0, 0.0_f64..=1.0, 0.1_f64..2.0), 2..30),
            log_c in -2.0_f64..3.0,
            start in (-2.0_f64..2.0, -2.0_f64..2.0),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(a, b, target, weight)| row([a, b], target, weight)).collect();
            let c = 10_f64.powf(log_c);
            let w = L1Logistic::new(rows.clone()).unwrap().exact(c, [start.0, start.1]).unwrap();
            let least = objective(&rows, &w, c);
            for (da, db) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3), (1e-3, -1e-3), (-1e-3, 1e-3)] {
                let there = objective(&rows, &[w[0] + da, w[1] + db], c);
                prop_assert!(there >= least - 1e-9 * least.abs().max(1.0), "{w:?}: {there} under {least}");
            }
        }
    }
}
