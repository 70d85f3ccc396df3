//! Linear layers without bias.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::blocks;
use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};
use crate::matrix::{Mat, MatMut, matmul, par_project, par_weight_gradient};

/// `x · weightᵀ`: x `[rows, in]`, weight `[out, in]`; returns `[rows, out]`.
///
/// The gradient of x or weight is computed only if that tensor is tracked, so nothing is computed for a
/// frozen weight.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((_, x_in), (_, weight_in)) = (x.dims2()?, weight.dims2()?);
    if x_in != weight_in {
        bail!(
            "linear: x has shape {:?}, weight {:?}: expected the same last dimension",
            x.dims(),
            weight.dims()
        );
    }
    if !is_fused(x) {
        return blocks::linear(x, weight);
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, Linear)
}

/// [`linear`] in plain candle ops.
pub fn naive(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, input), (out, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let (x, weight) = (Mat::new(slice(s1, l1)?, rows, input), Mat::new(slice(s2, l2)?, out, input));
        let mut y = vec![0.0; rows * out];
        par_project(MatMut::new(&mut y, rows, out), x, weight);
        output(y, (rows, out))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((rows, input), (out, _)) = (x.dims2()?, weight.dims2()?);
        let dy = dy.contiguous()?;
        let dy = Values::of(&dy)?;
        let dy = Mat::new(&dy, rows, out);
        let mut gradients = (None, None);
        if x.track_op() {
            let w = Values::of(weight)?;
            let w = Mat::new(&w, out, input);
            let mut dx = vec![0.0; rows * input];
            let blocks = MatMut::new(&mut dx, rows, input).row_blocks(ROWS_PER_TASK);
            blocks.into_par_iter().enumerate().for_each(|(task, dx)| {
                let start = task * ROWS_PER_TASK;
                let dy = dy.rows(start..start + dx.height());
                matmul(dx, false, dy, w);
            });
            gradients.0 = Some(tensor_like(dx, x)?);
        }
        if weight.track_op() {
            let mut dw = vec![0.0; out * input];
            par_weight_gradient(&mut dw, false, dy, Mat::new(&Values::of(x)?, rows, input));
            gradients.1 = Some(tensor_like(dw, weight)?);
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_and_with_finite_differences() {
        for rows in [1, 37, 700, 2500] {
            let (x, w) = (random(&[rows, 24], 1), random(&[40, 24], 2));
            assert_same(&[&x, &w], |t| linear(&t[0], &t[1]), |t| naive(&t[0], &t[1]), 2e-4);
        }
        assert_gradients(&[&random(&[3, 4], 3), &random(&[5, 4], 4)], |t| linear(&t[0], &t[1]));
    }

    #[test]
    fn a_frozen_weight_gets_no_gradient() {
        let x = Var::from_tensor(&random(&[3, 4], 1)).unwrap();
        let frozen = random(&[5, 4], 2);
        let gradients = linear(&x, &frozen).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).is_some() && gradients.get(&frozen).is_none());
    }
}
