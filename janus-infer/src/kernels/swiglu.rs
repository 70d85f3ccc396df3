//! The gated activation of the MLP (Shazeer, arXiv 2002.05202, section 2).

use super::exp::exp;
use super::simd::vectorised;

/// `x / (1 + e^-x)`.
#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `out = silu(gate) · up`, element by element.
#[inline(always)]
pub fn gate_times_up(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = silu(gate) * up;
    }
}

/// `silu(gate) · up` for each row of `[rows, gate | up]`, of `width` elements each.
pub fn swiglu(gate_up: &[f32], width: usize, out: &mut [f32]) {
    vectorised!(|| {
        for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            gate_times_up(gate, up, out);
        }
    });
}
