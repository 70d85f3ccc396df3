//! Loops that the compiler turns into vector code: run-time choice of the instruction set, an
//! exponential without a call, reductions in a fixed order.

/// Independent sums of a reduction; fixed, so that every machine adds in the same order.
const LANES: usize = 16;

/// Runs `f` compiled for the widest instruction set of this machine.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// e^x with a relative error below 2e-7 in -87..88; beyond, the value at the nearer end, 1e-38 or 2e38.
///
/// Cody-Waite reduction to |r| <= ln(2)/2 and the degree-7 Taylor polynomial in Horner form. There is no branch, not
/// even to 0 for what is too small, because with one a loop over it stays scalar.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which is then found in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, c);
    }
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    p * scale
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Sum of `f` over pairs of elements, in [`LANES`] sums that are added at the end.
#[inline(always)]
fn reduce2(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut lanes = [0.0f32; LANES];
    let (a_full, b_full) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_full.remainder(), b_full.remainder());
    for (a, b) in a_full.zip(b_full) {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], a[i], b[i]);
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = f(lanes[i], a, b);
    }
    fold(lanes, |a, b| a + b)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of a[i] * b[i].
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    reduce2(a, b, |sum, a, b| a.mul_add(b, sum))
}

/// Sum of the elements.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    reduce2(a, a, |sum, a, _| sum + a)
}

/// Sum of the squares, in f64.
#[inline(always)]
pub(crate) fn sum_of_squares(a: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    for a in a.chunks(LANES) {
        for (lane, &a) in lanes.iter_mut().zip(a) {
            *lane += f64::from(a) * f64::from(a);
        }
    }
    lanes.iter().sum()
}

/// The largest element; -inf of nothing.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let full = a.chunks_exact(LANES);
    let rest = full.remainder();
    for a in full {
        for i in 0..LANES {
            lanes[i] = if a[i] > lanes[i] { a[i] } else { lanes[i] };
        }
    }
    for (i, &a) in rest.iter().enumerate() {
        lanes[i] = if a > lanes[i] { a } else { lanes[i] };
    }
    fold(lanes, |a, b| if a > b { a } else { b })
}

/// Replaces each x by e^(scale * (x - max)) and returns their sum.
#[inline(always)]
pub(crate) fn exp_minus_max(row: &mut [f32], scale: f32) -> f32 {
    let shift = -scale * max(row);
    for x in row.iter_mut() {
        *x = exp(x.mul_add(scale, shift));
    }
    sum(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_two_units_in_the_last_place_over_its_range() {
        let worst = (-870_000..=880_000).fold(0.0f64, |worst, i| {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst.max((f64::from(exp(x)) - exact).abs() / exact)
        });
        assert!(worst < 2e-7, "relative error {worst:e}");
        assert!(exp(f32::NEG_INFINITY) < 1.3e-38 && exp(-200.0) < 1.3e-38);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn reductions_agree_with_f64_at_every_length() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| ((i * 37) % 11) as f32 - 5.0).collect();
            let b: Vec<f32> = (0..n).map(|i| ((i * 17) % 7) as f32 - 3.0).collect();
            assert_eq!(dot(&a, &b), a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>());
            assert_eq!(sum(&a), a.iter().sum::<f32>());
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(
                vectorised(
                    #[inline(always)]
                    || dot(&a, &b)
                ),
                dot(&a, &b),
                "the instruction set does not change the sum"
            );
        }
    }
}
