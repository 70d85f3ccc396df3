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
    let n = out.len().min(gate.len()).min(up.len());
    let (out, gate, up) = (&mut out[..n], &gate[..n], &up[..n]);
    for i in 0..n {
        out[i] = silu(gate[i]) * up[i];
    }
}

/// `silu(gate) · up` for each row of `[rows, gate | up]`, of `width` elements each.
pub fn swiglu(gate_up: &[f32], width: usize, out: &mut [f32]) {
    vectorised!(|| {
        for row in 0..out.len() / width {
            let (gate, up) = gate_up[2 * width * row..][..2 * width].split_at(width);
            gate_times_up(gate, up, &mut out[width * row..][..width]);
        }
    });
}
