//! RMSNorm, rotary positions, SwiGLU and softmax, row by row and in an order fixed by the row alone.

use crate::ModelConfig;
use crate::kernels::matmul::{LANES, vectorised};

/// `exp(x)` to about one unit in the last place, in a form that compiles to vector code: no branch, no table.
///
/// `x = n ln 2 + r`; a polynomial (Cephes' `expf`) for `exp(r)`, and `2^n` put together from its bits.
/// Below the smallest normal number the result is 0, and arguments above 88 count as 88.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-355.0 / 512.0, clamped));
    let mut p = 1.987_569_1e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        p = p.mul_add(r, coefficient);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let result = p.mul_add(r * r, r + 1.0) * power;
    if x < -87.0 { 0.0 } else { result }
}

/// Sum of the lanes, in a fixed tree.
#[inline(always)]
fn sum(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

vectorised! {
    /// `out = x / sqrt(mean(x²) + eps) * weight` for each row of `x`, `[rows, weight.len()]`
    /// (Zhang and Sennrich, arXiv 1910.07467).
    pub(crate) fn rms_norm<'a>(_simd, x: &'a [f32], weight: &'a [f32], eps: f32, out: &'a mut [f32]) -> () {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mut squares = [0f32; LANES];
            let chunks = x.chunks_exact(LANES);
            for (lane, x) in chunks.remainder().iter().enumerate() {
                squares[lane] = x * x;
            }
            for chunk in chunks {
                for (square, x) in squares.iter_mut().zip(chunk) {
                    *square = x.mul_add(*x, *square);
                }
            }
            let scale = 1.0 / (sum(squares) / width as f32 + eps).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * scale * weight;
            }
        }
    }
}

/// Frequencies of the rotary embedding, `theta^(-2i / head_dim)` (Su et al., arXiv 2104.09864), scaled as the config says, in
/// float32 as the reference has them: `[head_dim / 2]`.
pub(crate) fn rotary_frequencies(config: &ModelConfig) -> Vec<f32> {
    let (theta, head_dim) = (config.rope_theta as f32, config.head_dim);
    let mut frequencies: Vec<f32> = (0..head_dim / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / head_dim as f32)).collect();
    config.rope_scaling.iter().for_each(|scaling| scaling.scale(&mut frequencies));
    frequencies
}

/// Cosines and then sines of `position * frequency` for one position.
pub(crate) fn rotary_angles(position: usize, frequencies: &[f32], out: &mut Vec<f32>) {
    out.extend(frequencies.iter().map(|frequency| (position as f32 * frequency).cos()));
    out.extend(frequencies.iter().map(|frequency| (position as f32 * frequency).sin()));
}

vectorised! {
    /// Rotates the heads of one token, `[heads, head_dim]`, by its [`rotary_angles`]: element `i` pairs with
    /// `i + head_dim / 2`, as in Hugging Face checkpoints.
    pub(crate) fn rotate<'a>(_simd, heads: &'a mut [f32], angles: &'a [f32]) -> () {
        let half = angles.len() / 2;
        let (cosines, sines) = angles.split_at(half);
        for head in heads.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

vectorised! {
    /// SwiGLU (Shazeer, arXiv 2002.05202): `silu(gate) * up` for each row of `[rows, gate | up]`.
    pub(crate) fn swiglu<'a>(_simd, gate_up: &'a [f32], width: usize, out: &'a mut [f32]) -> () {
        for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate / (1.0 + exp(-gate)) * up;
            }
        }
    }
}

/// Turns scores into `exp(score - max)` and returns their sum.
///
/// Only `from..to` counts; what lies outside becomes 0. `scores[0]` must stand for a position that is a multiple of
/// [`LANES`]: a position's lane is then the same wherever the slice begins, and so is the order of the sum.
#[inline(always)]
pub(crate) fn exp_and_sum(scores: &mut [f32], from: usize, to: usize) -> f32 {
    let max = max(&scores[from..to]);
    scores[..from].fill(0.0);
    scores[to..].fill(0.0);
    for score in &mut scores[from..to] {
        *score = exp(*score - max);
    }
    lane_sum(scores)
}

#[inline(always)]
fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let mut largest = f32::NEG_INFINITY;
    for value in chunks.remainder() {
        largest = if *value > largest { *value } else { largest };
    }
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().fold(largest, |largest, lane| if *lane > largest { *lane } else { largest })
}

#[inline(always)]
fn lane_sum(values: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let remainder = chunks.remainder();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(remainder) {
        *sum += value;
    }
    sum(sums)
}

vectorised! {
    /// Softmax without its division: replaces `values` by `exp(value - max)`, returns their sum. `-inf` becomes 0.
    pub(crate) fn softmax_terms<'a>(_simd, values: &'a mut [f32]) -> f32 {
        let max = max(values);
        for value in values.iter_mut() {
            *value = exp(*value - max);
        }
        lane_sum(values)
    }
}

vectorised! {
    /// The largest element; NaN is none.
    pub(crate) fn largest<'a>(_simd, values: &'a [f32]) -> f32 {
        max(values)
    }
}

vectorised! {
    /// `ln(sum(exp(values)))`.
    pub(crate) fn log_sum_exp<'a>(_simd, values: &'a [f32]) -> f32 {
        let max = max(values);
        let mut sums = [0f32; LANES];
        for chunk in values.chunks(LANES) {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += exp(*value - max);
            }
        }
        max + sum(sums).ln()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut x = -86.9f32;
        while x < 88.0 {
            let (got, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got / expected - 1.0).abs() < 2.5e-7, "exp({x}) = {got}, expected {expected}");
            x += 0.0173;
        }
        assert_eq!((exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn rms_norm_of_a_width_that_is_no_multiple_of_the_lanes() {
        let x: Vec<f32> = (0..21).map(|i| i as f32 - 7.0).collect();
        let mut out = [0f32; 21];
        rms_norm(&x, &[2.0; 21], 1e-5, &mut out);
        let scale = 2.0 / (x.iter().map(|x| f64::from(x * x)).sum::<f64>() / 21.0 + 1e-5).sqrt();
        assert!(x.iter().zip(out).all(|(x, out)| (f64::from(*x) * scale - f64::from(out)).abs() < 1e-6));
    }

    proptest! {
        /// A query's weights are the same bits in a slice that begins earlier and ends later.
        #[test]
        fn softmax_does_not_depend_on_its_surroundings(scores in prop::collection::vec(-30f32..30.0, 1..100), before in 0usize..3, after in 0usize..40) {
            let mut alone = scores.clone();
            let sum = exp_and_sum(&mut alone, 0, scores.len());
            let exact: f64 = { let max = scores.iter().copied().fold(f32::MIN, f32::max); scores.iter().map(|s| f64::from(s - max).exp()).sum() };
            prop_assert!((f64::from(sum) / exact - 1.0).abs() < 1e-5);
            let mut wide = vec![99.0; before * LANES];
            wide.extend(&scores);
            wide.extend(vec![77.0; after]);
            let from = before * LANES;
            prop_assert_eq!(exp_and_sum(&mut wide, from, from + scores.len()), sum);
            prop_assert_eq!(&wide[from..from + scores.len()], &alone[..]);
            prop_assert!(wide[..from].iter().chain(&wide[from + scores.len()..]).all(|p| *p == 0.0));
        }
    }
}
