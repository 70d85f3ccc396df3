//! The language-model head in candle's ops, some rows at a time.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::node::{Forward, block};
use super::{BLOCK_LOGITS, linear};
use crate::ops::gradient::Weight;
use crate::ops::log_prob;

/// Log-probabilities in f32, some rows at a time; see
/// [`linear_logprobs`](crate::ops::linear_logprobs()).
pub(in crate::ops) fn linear_logprobs(
    hidden: &Tensor,
    weight: &Weight,
    rows: &[u32],
    targets: &[u32],
) -> Result<Tensor> {
    let held = (BLOCK_LOGITS / weight.tensor.dim(0)?.max(1)).max(1);
    linear_logprobs_by(held, hidden, weight, rows, targets)
}

/// [`linear_logprobs`], `held` rows at a time.
pub(super) fn linear_logprobs_by(
    held: usize,
    hidden: &Tensor,
    weight: &Weight,
    rows: &[u32],
    targets: &[u32],
) -> Result<Tensor> {
    let mut parts = Vec::with_capacity(rows.len().div_ceil(held));
    for (rows, targets) in rows.chunks(held).zip(targets.chunks(held)) {
        let rows = Tensor::from_slice(rows, rows.len(), hidden.device())?;
        let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
        let head = weight.tensor.clone();
        let part: Arc<Forward> =
            Arc::new(move |x, read| log_prob::of_logits(&linear(x, &read(&head))?, &targets));
        let x = hidden.index_select(&rows, 0)?;
        // Blocks return no gradients of weights to candle.
        parts.push(if weight.for_candle() {
            part(&x, &Tensor::clone)?
        } else {
            block("linear_logprobs", &x, &[weight], true, part)?
        });
    }
    if parts.is_empty() {
        hidden.narrow(0, 0, 0)?.sum(1)?.to_dtype(DType::F32)
    } else {
        Tensor::cat(&parts, 0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::ops;
    use crate::ops::gradient::{GradAccumulator, GradSink};
    use crate::ops::testing::random;

    #[test]
    fn agrees_with_the_naive_version_for_any_number_of_rows_at_a_time() {
        let (hidden, weight) = (
            Var::from_tensor(&random(&[50, 16], 1)).unwrap(),
            Var::from_tensor(&random(&[70, 16], 2)).unwrap(),
        );
        let (rows, targets): (Vec<u32>, Vec<u32>) = (0..40).map(|r| (r + r / 4, (r * 31) % 70)).unzip();
        let cotangent = random(&[40], 3);
        let gradients = |y: Tensor| (y * &cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        let reference = ops::naive::linear_logprobs(&hidden, &weight, &rows, &targets).unwrap();
        let expected = gradients(reference.clone());
        for held in [1, 7, 40, 1000] {
            let sum = GradAccumulator::default();
            let sink = GradSink::new([(weight.as_tensor(), sum.clone())]);
            let y = linear_logprobs_by(held, &hidden, &Weight::new(&weight, Some(&sink)), &rows, &targets)
                .unwrap();
            let got = gradients(y.clone());
            assert!(got.get(&weight).is_none());
            let dweight = sum.sum().unwrap();
            for (got, expected) in [
                (&y, &reference),
                (got.get(&hidden).unwrap(), expected.get(&hidden).unwrap()),
                (&dweight, expected.get(&weight).unwrap()),
            ] {
                let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let worst =
                    flat(got).iter().zip(flat(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 2e-5, "{held} rows at a time: {worst:e}");
            }
        }
        let nothing = linear_logprobs_by(7, &hidden, &Weight::new(&weight, None), &[], &[]).unwrap();
        assert_eq!((nothing.dims(), nothing.dtype()), (&[0][..], DType::F32));
    }
}
