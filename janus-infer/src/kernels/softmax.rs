//! The parts of softmax.

use std::ops::Range;

use super::exp::exp;
use super::reduce::{fold, max, sum};
use super::simd::{LANES, vectorised};

/// Replaces each `x` of `row[seen]` by `e^(scale · (x - max))`, sets all other elements to 0, and
/// returns the sum. An `x` of -∞ becomes 0.
///
/// Element `i` of the row is added in lane `i % LANES`. So the sum does not depend on where the row
/// begins and ends around `seen`, not even in the last bit, as long as the row is moved by multiples of
/// [`LANES`].
#[inline(always)]
pub fn exp_minus_max(row: &mut [f32], seen: Range<usize>, scale: f32) -> f32 {
    for x in &mut row[..seen.start] {
        *x = 0.0;
    }
    for x in &mut row[seen.end..] {
        *x = 0.0;
    }
    let shift = -scale * max(&row[seen.clone()]);
    for x in &mut row[seen.clone()] {
        *x = exp(x.mul_add(scale, shift));
    }
    sum(&row[seen.start / LANES * LANES..seen.end])
}

/// Softmax without the division: replaces each x by `e^(x - max)`, -∞ by 0, and returns the sum.
pub(crate) fn softmax_terms(values: &mut [f32]) -> f32 {
    vectorised!(|| exp_minus_max(values, 0..values.len(), 1.0))
}

/// `ln(sum(exp(values)))`.
pub(crate) fn log_sum_exp(values: &[f32]) -> f32 {
    vectorised!(|| {
        let max = max(values);
        let mut sums = [0f32; LANES];
        let (full, rest) = values.as_chunks::<LANES>();
        for values in full {
            for i in 0..LANES {
                sums[i] += exp(values[i] - max);
            }
        }
        for i in 0..rest.len() {
            sums[i] += exp(rest[i] - max);
        }
        max + fold(sums, |a, b| a + b).ln()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A query's attention weights are bit-identical in a row that begins earlier and ends later.
        #[test]
        fn softmax_does_not_depend_on_what_is_masked_around_it(scores in prop::collection::vec(-30f32..30.0, 1..100), before in 0usize..3, after in 0usize..40) {
            let mut alone = scores.clone();
            let sum = exp_minus_max(&mut alone, 0..scores.len(), 1.0);
            let exact: f64 = { let max = scores.iter().copied().fold(f32::MIN, f32::max); scores.iter().map(|s| f64::from(s - max).exp()).sum() };
            prop_assert!((f64::from(sum) / exact - 1.0).abs() < 1e-5);
            let mut wide = vec![99.0; before * LANES];
            wide.extend(&scores);
            wide.extend(vec![77.0; after]);
            let from = before * LANES;
            prop_assert_eq!(exp_minus_max(&mut wide, from..from + scores.len(), 1.0), sum);
            prop_assert_eq!(&wide[from..from + scores.len()], &alone[..]);
            prop_assert!(wide[..from].iter().chain(&wide[from + scores.len()..]).all(|p| *p == 0.0));
        }
    }
}
