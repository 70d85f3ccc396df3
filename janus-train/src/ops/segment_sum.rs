//! Sums over groups of elements.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};

/// Sums x `[n]` by segment: element `s` of the result, `[segments]`, is the sum of the x\[i\] with
/// `segment[i] == s`.
///
/// Sums are computed in f64 in the order of the elements, because a response's log-probability is a sum
/// over hundreds of tokens.
///
/// # Errors
/// If `x` and `segment` differ in length, or a segment is not below `segments`.
pub fn segment_sum(x: &Tensor, segment: &[u32], segments: usize) -> Result<Tensor> {
    let n = x.dims1()?;
    if n != segment.len() || segment.iter().any(|&s| s as usize >= segments) {
        bail!(
            "segment_sum: {n} elements and {} segment numbers: expected equal lengths, and numbers below {segments}",
            segment.len()
        );
    }
    if !is_fused(x) {
        return naive(x, segment, segments);
    }
    x.contiguous()?.apply_op1(SegmentSum { segment: segment.into(), segments })
}

/// [`segment_sum`] in plain candle ops, in f32.
pub fn naive(x: &Tensor, segment: &[u32], segments: usize) -> Result<Tensor> {
    let zeros = Tensor::zeros(segments, x.dtype(), x.device())?;
    zeros.index_add(&Tensor::from_slice(segment, segment.len(), x.device())?, x, 0)
}

struct SegmentSum {
    segment: Arc<[u32]>,
    segments: usize,
}

impl CustomOp1 for SegmentSum {
    fn name(&self) -> &'static str {
        "segment_sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut sums = vec![0.0f64; self.segments];
        for (&x, &segment) in slice(storage, layout)?.iter().zip(&*self.segment) {
            sums[segment as usize] += f64::from(x);
        }
        output(sums.into_iter().map(|sum| sum as f32).collect(), self.segments)
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dy = Values::of(&dy)?;
        Ok(Some(tensor_like(self.segment.iter().map(|&segment| dy[segment as usize]).collect(), x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_and_with_finite_differences() {
        let segment: Vec<u32> = (0..90).map(|i| i * i % 7).collect();
        assert_same(
            &[&random(&[90], 1)],
            |t| segment_sum(&t[0], &segment, 8),
            |t| naive(&t[0], &segment, 8),
            2e-6,
        );
        assert_gradients(&[&random(&[6], 2)], |t| segment_sum(&t[0], &[0, 2, 2, 0, 3, 3], 4));
        assert!(segment_sum(&random(&[2], 3), &[0, 4], 4).is_err());
        assert!(segment_sum(&random(&[2], 3), &[0], 4).is_err());
    }
}
