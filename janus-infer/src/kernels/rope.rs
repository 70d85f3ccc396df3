//! Rotary position embedding in the half-split form (Su et al., arXiv 2104.09864, equation 34, with the
//! pairs of Hugging Face checkpoints: element `i` of a head is rotated with element `i + head_dim / 2`).

use crate::RopeScaling;

/// The frequencies `theta^(-2i / head_dim)`, with the model's scaling if it has one: `[head_dim / 2]`.
///
/// They are computed as transformers does: `1 / theta^(2i / head_dim)`, each step in f32. If they were
/// computed in f64 and rounded at the end, up to two in five would differ in the last bit.
pub fn frequencies(theta: f64, head_dim: usize, scaling: Option<&RopeScaling>) -> Vec<f32> {
    let frequency = |i: usize| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32);
    let mut frequencies: Vec<f32> = (0..head_dim / 2).map(frequency).collect();
    scaling.into_iter().for_each(|scaling| scaling.scale(&mut frequencies));
    frequencies
}

/// Appends the cosines, then the sines, of `position · frequency`.
pub fn push_angles(position: usize, frequencies: &[f32], angles: &mut Vec<f32>) {
    angles.extend(frequencies.iter().map(|frequency| (position as f32 * frequency).cos()));
    angles.extend(frequencies.iter().map(|frequency| (position as f32 * frequency).sin()));
}

/// Rotates the heads of one token, `[heads, head_dim]`, by its [angles](push_angles), or back if `inverse`.
#[inline(always)]
pub fn rotate(heads: &mut [f32], angles: &[f32], inverse: bool) {
    let half = angles.len() / 2;
    let (cos, sin) = angles.split_at(half);
    let sign = if inverse { -1.0 } else { 1.0 };
    for head in 0..heads.len() / (2 * half) {
        let (low, high) = heads[2 * half * head..][..2 * half].split_at_mut(half);
        // Eight at a time through arrays, because the compiler does not see that `low` and `high` do not
        // alias.
        let ((lows, low), (highs, high)) = (low.as_chunks_mut::<8>(), high.as_chunks_mut::<8>());
        let ((coss, cos), (sins, sin)) = (cos.as_chunks::<8>(), sin.as_chunks::<8>());
        for k in 0..lows.len() {
            let (mut a, mut b) = (lows[k], highs[k]);
            for i in 0..8 {
                (a[i], b[i]) = rotated(a[i], b[i], coss[k][i], sins[k][i] * sign);
            }
            (lows[k], highs[k]) = (a, b);
        }
        for i in 0..low.len() {
            (low[i], high[i]) = rotated(low[i], high[i], cos[i], sin[i] * sign);
        }
    }
}

#[inline(always)]
fn rotated(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, b * cos + a * sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LlamaRotaryEmbedding.inv_freq` of transformers 5.24, torch 2.15.
    #[test]
    fn frequencies_are_those_of_transformers_to_the_bit() {
        let bits = |theta| frequencies(theta, 16, None).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let of_1e4 = [
            0x3f80_0000,
            0x3ea1_e89b,
            0x3dcc_cccd,
            0x3d01_86e3,
            0x3c23_d70a,
            0x3b4f_3e38,
            0x3a83_126f,
            0x39a5_cb60,
        ];
        let of_1e6 = [
            0x3f80_0000,
            0x3e36_1887,
            0x3d01_86e3,
            0x3bb8_449c,
            0x3a83_126f,
            0x393a_7753,
            0x3804_a2b2,
            0x36bc_b0c1,
        ];
        assert_eq!((bits(1e4), bits(1e6)), (of_1e4.to_vec(), of_1e6.to_vec()));
    }
}
