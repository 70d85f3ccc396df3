//! The exponential.

/// `e^x` within one unit in the last place, without branches or tables, so that it compiles to vector code.
///
/// Cody-Waite reduction `x = n ln 2 + r` with |r| ≤ ln 2 / 2, the degree-7 Taylor polynomial of `e^r`,
/// and `2^n` assembled from its bits. Below -87.3, where the result would be subnormal, it is 0;
/// arguments above 88.3 are clamped to 88.3. NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const LOWEST: f32 = -87.3;
    let clamped = x.clamp(LOWEST, 88.3);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, coefficient);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { p * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_one_unit_in_the_last_place_over_its_range() {
        let worst = (-873_000..=880_000).fold(0.0f64, |worst, i| {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst.max((f64::from(exp(x)) - exact).abs() / exact)
        });
        assert!(worst < 8e-8, "relative error {worst:e}");
        assert_eq!((exp(0.0), exp(-87.5), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::INFINITY).is_finite());
    }
}
