//! The gated activation of the MLP (Shazeer, arXiv 2002.05202, section 2).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use janus_infer::kernels::exp::exp;
use janus_infer::kernels::simd::vectorised;
use janus_infer::kernels::swiglu::gate_times_up;
use rayon::prelude::*;

use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};

/// Elements of one parallel task.
const ELEMENTS: usize = 1 << 16;

/// `silu(gate) · up` with `silu(x) = x / (1 + e^-x)`, element by element.
///
/// # Errors
/// If the shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.shape() != up.shape() {
        bail!("swiglu: gate has shape {:?}, up {:?}: expected the same", gate.dims(), up.dims());
    }
    if !is_fused(gate) {
        return naive(gate, up);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

/// [`swiglu`] in plain candle ops.
pub fn naive(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()?.mul(up)
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut y = vec![0.0; gate.len()];
        y.par_chunks_mut(ELEMENTS)
            .zip(gate.par_chunks(ELEMENTS).zip(up.par_chunks(ELEMENTS)))
            .for_each(|(y, (gate, up))| vectorised!(|| gate_times_up(gate, up, y)));
        output(y, l1.shape().clone())
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dgate, mut dup) = (Values::of(gate)?.to_vec(), Values::of(up)?.to_vec());
        let mut dy = Values::of(&dy.contiguous()?)?.to_vec();
        dgate
            .par_chunks_mut(ELEMENTS)
            .zip(dup.par_chunks_mut(ELEMENTS))
            .zip(dy.par_chunks_mut(ELEMENTS))
            .for_each(|((gate, up), dy)| vectorised!(|| backward(gate, up, dy)));
        Ok((Some(tensor_like(dgate, gate)?), Some(tensor_like(dup, up)?)))
    }
}

/// Replaces `gate` and `up` by their gradients, and `dy` by the result of the forward pass, which the
/// layer does not save but needs.
///
/// With s = sigmoid(g): d gate = dy · u · s · (1 + g · (1 - s)), and d up = dy · g · s.
#[inline(always)]
pub(crate) fn backward(gate: &mut [f32], up: &mut [f32], dy: &mut [f32]) {
    // Eight elements at a time through arrays: the compiler does not vectorise a loop that reads and
    // writes three slices.
    let ((gates, gate), (ups, up), (dys, dy)) =
        (gate.as_chunks_mut::<8>(), up.as_chunks_mut::<8>(), dy.as_chunks_mut::<8>());
    for k in 0..gates.len() {
        let (mut g, mut u, mut d) = (gates[k], ups[k], dys[k]);
        for i in 0..8 {
            (g[i], u[i], d[i]) = backward_of_one(g[i], u[i], d[i]);
        }
        (gates[k], ups[k], dys[k]) = (g, u, d);
    }
    for i in 0..gate.len() {
        (gate[i], up[i], dy[i]) = backward_of_one(gate[i], up[i], dy[i]);
    }
}

#[inline(always)]
fn backward_of_one(g: f32, u: f32, dy: f32) -> (f32, f32, f32) {
    let below = 1.0 + exp(-g);
    let (sigmoid, silu) = (1.0 / below, g / below);
    (dy * u * (sigmoid + silu * (1.0 - sigmoid)), dy * silu, silu * u)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_and_with_finite_differences() {
        let (gate, up) = ((random(&[300, 40], 1) * 4.0).unwrap(), random(&[300, 40], 2));
        assert_same(&[&gate, &up], |t| swiglu(&t[0], &t[1]), |t| naive(&t[0], &t[1]), 3e-6);
        assert_gradients(&[&random(&[3, 5], 3), &random(&[3, 5], 4)], |t| swiglu(&t[0], &t[1]));
    }
}
