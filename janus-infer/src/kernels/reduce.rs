//! Reductions whose order depends only on the length, so that all machines, in training and in
//! inference, get the same sums.

use super::simd::LANES;

/// Reduces the lanes pairwise, in a fixed order.
#[inline(always)]
pub(super) fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Reduces pairs of elements; pair `i` goes to lane `i % LANES`.
#[inline(always)]
fn reduce(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut lanes = [0.0f32; LANES];
    let ((a_full, a_rest), (b_full, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for k in 0..a_full.len().min(b_full.len()) {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], a_full[k][i], b_full[k][i]);
        }
    }
    for i in 0..a_rest.len().min(b_rest.len()) {
        lanes[i] = f(lanes[i], a_rest[i], b_rest[i]);
    }
    fold(lanes, |a, b| a + b)
}

/// Sum of `a[i] * b[i]`.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    reduce(
        a,
        b,
        #[inline(always)]
        |sum, a, b| a.mul_add(b, sum),
    )
}

/// Sum of the elements.
#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    reduce(
        a,
        a,
        #[inline(always)]
        |sum, a, _| sum + a,
    )
}

/// Sum of the squares, in f64.
#[inline(always)]
pub fn sum_of_squares(a: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (full, rest) = a.as_chunks::<LANES>();
    for a in full {
        for i in 0..LANES {
            lanes[i] += f64::from(a[i]) * f64::from(a[i]);
        }
    }
    for i in 0..rest.len() {
        lanes[i] += f64::from(rest[i]) * f64::from(rest[i]);
    }
    lanes.iter().sum()
}

/// The largest element, or -∞ if there are none; NaN is skipped.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (full, rest) = a.as_chunks::<LANES>();
    for a in full {
        for i in 0..LANES {
            lanes[i] = if a[i] > lanes[i] { a[i] } else { lanes[i] };
        }
    }
    for i in 0..rest.len() {
        lanes[i] = if rest[i] > lanes[i] { rest[i] } else { lanes[i] };
    }
    fold(lanes, |a, b| if a > b { a } else { b })
}

#[cfg(test)]
mod tests {
    use super::super::simd::vectorised;
    use super::*;

    #[test]
    fn reductions_agree_with_f64_at_every_length() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| ((i * 37) % 11) as f32 - 5.0).collect();
            let b: Vec<f32> = (0..n).map(|i| ((i * 17) % 7) as f32 - 3.0).collect();
            assert_eq!(dot(&a, &b), a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>());
            assert_eq!(sum(&a), a.iter().sum::<f32>());
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(
                vectorised!(|| dot(&a, &b)),
                dot(&a, &b),
                "the instruction set does not change the sum"
            );
        }
    }
}
