//! Root-mean-square normalisation (Zhang and Sennrich, arXiv 1910.07467, equation 4).

use super::reduce::dot;
use super::simd::vectorised;

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
pub fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// `out = x / sqrt(mean(x²) + eps) * weight` for each row of `x`, `[rows, weight.len()]`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    vectorised!(|| {
        let width = weight.len();
        for row in 0..out.len() / width {
            let (x, out) = (&x[width * row..][..width], &mut out[width * row..][..width]);
            let scale = inverse_rms(x, eps);
            for i in 0..width {
                out[i] = x[i] * scale * weight[i];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rms_norm_of_a_width_that_is_not_a_multiple_of_the_lanes() {
        let x: Vec<f32> = (0..21).map(|i| i as f32 - 7.0).collect();
        let mut out = [0f32; 21];
        rms_norm(&x, &[2.0; 21], 1e-5, &mut out);
        let scale = 2.0 / (x.iter().map(|x| f64::from(x * x)).sum::<f64>() / 21.0 + 1e-5).sqrt();
        assert!(x.iter().zip(out).all(|(x, out)| (f64::from(*x) * scale - f64::from(out)).abs() < 1e-6));
    }
}
