//! Log-probabilities in forms that stay accurate when the probability is near 0 or 1.

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor};

use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};

/// The largest log-probability whose exponential is still different from 1 in f32: half a unit in the
/// last place of 1.
const NEAREST_TO_ZERO: f64 = -5.960_464_5e-8;

/// The log-probability of each row's target: logits `[rows, vocab]`, targets `[rows, 1]`.
pub(super) fn of_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let logits = logits.to_dtype(DType::F32)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    shifted.gather(targets, 1)?.sub(&log_sum)?.squeeze(1)
}

/// `log(1 / (1 + e^-x))`, element by element, without overflow at either end.
///
/// # Errors
/// If candle fails.
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    if !is_fused(x) {
        return naive_log_sigmoid(x);
    }
    x.contiguous()?.apply_op1(ByElement {
        name: "log_sigmoid",
        f: |x| x.min(0.0) - (-x.abs()).exp().ln_1p(),
        derivative: |x| sigmoid(-x),
    })
}

/// `log(1 - e^x)` for x < 0, element by element: `log(-expm1(x))` above -ln 2 and `log1p(-e^x)` below,
/// each in the range where it is accurate (Mächler 2012, equation 7).
///
/// A mean log-probability that was rounded to 0 is replaced by -6e-8, so that a response with
/// probability near 1 has a large but finite result and gradient.
///
/// # Errors
/// If candle fails.
pub fn log1mexp(x: &Tensor) -> Result<Tensor> {
    if !is_fused(x) {
        return naive_log1mexp(x);
    }
    let f = |x: f64| {
        let x = x.min(NEAREST_TO_ZERO);
        if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
    };
    x.contiguous()?.apply_op1(ByElement {
        name: "log1mexp",
        f,
        derivative: |x| -1.0 / (-x.min(NEAREST_TO_ZERO)).exp_m1(),
    })
}

/// [`log_sigmoid`] in plain candle ops.
pub fn naive_log_sigmoid(x: &Tensor) -> Result<Tensor> {
    x.minimum(0.0)?.sub(&(x.abs()?.neg()?.exp()? + 1.0)?.log()?)
}

/// [`log1mexp`] in plain candle ops; loses precision near 0.
pub fn naive_log1mexp(x: &Tensor) -> Result<Tensor> {
    (1.0 - x.minimum(NEAREST_TO_ZERO)?.exp()?)?.log()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A function of single elements and its derivative, both computed in f64. This is cheap: there is one
/// element for each pair of documents.
struct ByElement {
    name: &'static str,
    f: fn(f64) -> f64,
    derivative: fn(f64) -> f64,
}

impl CustomOp1 for ByElement {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = slice(storage, layout)?.iter().map(|&x| (self.f)(f64::from(x)) as f32).collect();
        output(y, layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (values, dy) = (Values::of(x)?, Values::of(&dy)?);
        let dx = values
            .iter()
            .zip(dy.iter())
            .map(|(&x, &dy)| (f64::from(dy) * (self.derivative)(f64::from(x))) as f32);
        Ok(Some(tensor_like(dx.collect(), x)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    fn negative(seed: u64) -> Tensor {
        (random(&[40], seed) * 2.0).unwrap().affine(1.0, -2.5).unwrap()
    }

    #[test]
    fn agree_with_the_naive_versions_and_with_finite_differences() {
        let x = (random(&[40], 1) * 8.0).unwrap();
        assert_same(&[&x], |t| log_sigmoid(&t[0]), |t| naive_log_sigmoid(&t[0]), 1e-6);
        assert_gradients(&[&random(&[9], 2)], |t| log_sigmoid(&t[0]));
        assert_same(&[&negative(3)], |t| log1mexp(&t[0]), |t| naive_log1mexp(&t[0]), 2e-6);
        assert_gradients(&[&negative(4)], |t| log1mexp(&t[0]));
    }

    /// Value and gradient at one point.
    fn at(x: f32, op: fn(&Tensor) -> Result<Tensor>) -> (f32, f32) {
        let var = Var::from_tensor(&Tensor::new(&[x], &Device::Cpu).unwrap()).unwrap();
        let y = op(&var).unwrap();
        let gradient =
            y.sum_all().unwrap().backward().unwrap().get(&var).unwrap().to_vec1::<f32>().unwrap()[0];
        (y.to_vec1::<f32>().unwrap()[0], gradient)
    }

    #[test]
    fn results_near_the_limits_are_accurate_and_finite() {
        assert_eq!(at(200.0, log_sigmoid), (0.0, 0.0));
        assert_eq!(at(-200.0, log_sigmoid), (-200.0, 1.0));
        let (y, gradient) = at(-1e-7, log1mexp);
        assert!((y - -16.118_096).abs() < 2e-6 && (gradient / -1e7 - 1.0).abs() < 1e-5, "{y}, {gradient}");
        let (y, gradient) = at(0.0, log1mexp);
        assert!(y.is_finite() && gradient.is_finite(), "{y}, {gradient}");
        assert_eq!(at(-200.0, log1mexp), (0.0, 0.0));
        let (y, _) = at(-20.0, log1mexp);
        assert!((y / -2.061_153_6e-9 - 1.0).abs() < 1e-6, "{y}");
    }
}
