//! Root-mean-square normalisation (Zhang & Sennrich, arXiv 1910.07467, equation 4).

use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor, bail};
use janus_infer::kernels::norm::{self, inverse_rms};
use janus_infer::kernels::reduce::dot;
use janus_infer::kernels::simd::vectorised;
use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};

/// `x / sqrt(mean(x²) + eps) · weight` over the last dimension: x `[rows, hidden]`, weight `[hidden]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if weight.dims() != [x.dim(D::Minus1)?] {
        bail!(
            "rms_norm: weight has shape {:?}, expected the last dimension of x, {:?}",
            weight.dims(),
            x.dims()
        );
    }
    if !is_fused(x) {
        return naive(x, weight, eps);
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, RmsNorm { eps: eps as f32 })
}

/// [`rms_norm`] in plain candle ops, computed in f32.
pub fn naive(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let (dtype, x) = (x.dtype(), x.to_dtype(DType::F32)?);
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?
        .broadcast_mul(&weight.to_dtype(DType::F32)?)?
        .to_dtype(dtype)
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut y = vec![0.0; x.len()];
        let block = ROWS_PER_TASK * weight.len();
        y.par_chunks_mut(block)
            .zip(x.par_chunks(block))
            .for_each(|(y, x)| norm::rms_norm(x, weight, self.eps, y));
        output(y, l1.shape().clone())
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (x_values, w, dy) = (Values::of(x)?, Values::of(weight)?, Values::of(&dy)?);
        let (x_values, w, dy) = (&*x_values, &*w, &*dy);
        let block = ROWS_PER_TASK * w.len();
        let mut dx = vec![0.0; x_values.len()];
        let partial: Vec<Vec<f32>> = dx
            .par_chunks_mut(block)
            .zip(x_values.par_chunks(block))
            .zip(dy.par_chunks(block))
            .map(|((dx, x), dy)| {
                let mut dw = vec![0.0; w.len()];
                backward(x, w, self.eps, dy, dx, &mut dw);
                dw
            })
            .collect();
        let dw = sum_in_order(&partial, w.len());
        let dx = if x.track_op() { Some(tensor_like(dx, x)?) } else { None };
        Ok((dx, if weight.track_op() { Some(tensor_like(dw, weight)?) } else { None }))
    }
}

/// Adds the gradients of [`norm::rms_norm`] to `dx` and to `dw`.
///
/// With r = 1 / rms(x): dx = r · (w·dy) - x · r³/n · Σ(w·dy·x), and dw = Σ over rows of dy · x · r.
pub(crate) fn backward(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
    vectorised!(|| {
        let n = weight.len();
        let mut scaled = vec![0.0; n];
        let (scaled, dw) = (&mut scaled[..n], &mut dw[..n]);
        for row in 0..dx.len() / n {
            let (x, dy, dx) = (&x[row * n..][..n], &dy[row * n..][..n], &mut dx[row * n..][..n]);
            let r = inverse_rms(x, eps);
            for i in 0..n {
                scaled[i] = dy[i] * weight[i];
            }
            let along = dot(scaled, x) * r * r * r / n as f32;
            for i in 0..n {
                dx[i] += scaled[i] * r - x[i] * along;
            }
            for i in 0..n {
                dw[i] += dy[i] * x[i] * r;
            }
        }
    });
}

/// The sum of the vectors, in their order.
pub(crate) fn sum_in_order(vectors: &[Vec<f32>], len: usize) -> Vec<f32> {
    vectors.iter().fold(vec![0.0; len], |mut total, vector| {
        total.iter_mut().zip(vector).for_each(|(total, x)| *total += x);
        total
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_and_with_finite_differences() {
        let (x, w) = (random(&[300, 40], 1), random(&[40], 2));
        assert_same(&[&x, &w], |t| rms_norm(&t[0], &t[1], 1e-5), |t| naive(&t[0], &t[1], 1e-5), 1e-5);
        let x = random(&[3, 20], 3);
        assert_gradients(&[&x, &random(&[20], 4)], |t| rms_norm(&t[0], &t[1], 1e-5));
    }
}
