//! The language-model head, fused with log-softmax and gather.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use janus_infer::kernels::exp::exp;
use janus_infer::kernels::reduce::max;
use janus_infer::kernels::simd::vectorised;
use janus_infer::kernels::softmax::exp_minus_max;
use rayon::prelude::*;

use super::blocks;
use super::dispatch::is_fused;
use super::embedding::{gather, scatter_add};
use super::gradient::{GradSink, Weight};
use super::log_prob;
use super::storage::{Values, output, slice, tensor_like};
use crate::matrix::{Mat, MatMut, matmul};
use crate::scratch::Scratch;

/// Rows whose logits one task computes.
const ROWS: usize = 128;
/// Vocabulary entries whose logits a task of the forward pass computes at a time: 2 MB for its rows,
/// which fit in the core's cache.
const FORWARD_VOCAB: usize = 4096;
/// Maximum logits that [`linear_logprobs`] has in memory in its backward pass: a part of the vocabulary
/// for all rows, or for a part of the rows if there are many.
pub const LOGITS_HELD: usize = 1 << 22;
/// Vocabulary entries whose weight gradient one task sums.
const VOCAB: usize = 512;

/// `log_softmax(hidden[rows[r]] · weightᵀ)[targets[r]]` for each r: hidden `[tokens, hidden]`, weight
/// `[vocab, hidden]`; returns `[rows]`.
///
/// Logits are computed for a part of the vocabulary at a time, and again in the backward pass. There is
/// never a `[tokens, vocab]` tensor, and nothing is computed for tokens that are not in `rows`. For each
/// row only the largest logit and the sum of exponentials are kept, from which the softmax of any part
/// can be computed.
///
/// # Errors
/// If shapes do not fit, `rows` and `targets` differ in length, or an index is out of range.
pub fn linear_logprobs(hidden: &Tensor, weight: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Tensor> {
    linear_logprobs_into(hidden, weight, rows, targets, None)
}

/// [`linear_logprobs`]; the gradient of a weight in `sink` is added there and not returned to candle.
pub(crate) fn linear_logprobs_into(
    hidden: &Tensor,
    weight: &Tensor,
    rows: &[u32],
    targets: &[u32],
    sink: Option<&GradSink>,
) -> Result<Tensor> {
    let ((tokens, width), (vocab, weight_width)) = (hidden.dims2()?, weight.dims2()?);
    if width != weight_width || rows.len() != targets.len() {
        bail!(
            "linear_logprobs: hidden {:?}, weight {:?}, {} rows, {} targets do not fit together",
            hidden.dims(),
            weight.dims(),
            rows.len(),
            targets.len()
        );
    }
    if let Some(r) = (0..rows.len()).find(|&r| rows[r] as usize >= tokens || targets[r] as usize >= vocab) {
        bail!(
            "linear_logprobs: row {} or target {} at {r} is out of range of {tokens} tokens, {vocab} ids",
            rows[r],
            targets[r]
        );
    }
    let tracked = Weight::new(weight, sink);
    if !is_fused(hidden) {
        return blocks::linear_logprobs(hidden, &tracked, rows, targets);
    }
    let op = LinearLogprobs {
        rows: rows.into(),
        targets: targets.into(),
        weight: tracked,
        softmaxes: Mutex::default(),
    };
    hidden.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// [`linear_logprobs`] in plain candle ops, with the log-softmax in f32. It keeps all logits in memory.
pub fn naive(hidden: &Tensor, weight: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Tensor> {
    let index = |ids: &[u32]| Tensor::from_slice(ids, ids.len(), hidden.device());
    log_prob::of_logits(
        &hidden.index_select(&index(rows)?, 0)?.matmul(&weight.t()?)?,
        &index(targets)?.unsqueeze(1)?,
    )
}

struct LinearLogprobs {
    rows: Arc<[u32]>,
    targets: Arc<[u32]>,
    weight: Weight,
    /// For each row, after the forward pass.
    softmaxes: Mutex<Vec<Softmax>>,
}

/// The normalisation of a row's softmax.
#[derive(Clone, Copy, Default)]
struct Softmax {
    /// The largest logit.
    max: f32,
    /// Sum of e^(logit - max).
    sum: f32,
}

impl Softmax {
    /// The normalisation over these logits, which are overwritten.
    #[inline(always)]
    fn of(logits: &mut [f32]) -> Self {
        Self { max: max(logits), sum: exp_minus_max(logits, 0..logits.len(), 1.0) }
    }

    /// The normalisation over both sets of logits together.
    #[inline(always)]
    fn with(self, other: Self) -> Self {
        let max = if other.max > self.max { other.max } else { self.max };
        Self { max, sum: self.sum * exp(self.max - max) + other.sum * exp(other.max - max) }
    }
}

impl CustomOp2 for LinearLogprobs {
    fn name(&self) -> &'static str {
        "linear_logprobs"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((_, width), (vocab, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let (hidden, weight) = (slice(s1, l1)?, Mat::new(slice(s2, l2)?, vocab, width));
        let mut logprobs = vec![0.0; self.rows.len()];
        let mut softmaxes = vec![Softmax::default(); self.rows.len()];
        let held = FORWARD_VOCAB.min(vocab);
        logprobs
            .par_chunks_mut(ROWS)
            .zip(softmaxes.par_chunks_mut(ROWS))
            .zip(self.rows.par_chunks(ROWS).zip(self.targets.par_chunks(ROWS)))
            .for_each(|((logprobs, softmaxes), (rows, targets))| {
                let n = rows.len();
                let (mut x, mut logits) = (Scratch::new(n * width), Scratch::new(n * held));
                gather(hidden, rows, width, &mut x);
                for start in (0..vocab).step_by(held) {
                    let ids = start..(start + held).min(vocab);
                    let logits = &mut logits[..n * ids.len()];
                    matmul(
                        MatMut::new(logits, n, ids.len()),
                        false,
                        Mat::new(&x, n, width),
                        weight.rows(ids.clone()).t(),
                    );
                    vectorised!(|| {
                        for r in 0..targets.len() {
                            let logits = &mut logits[r * ids.len()..][..ids.len()];
                            let target = targets[r] as usize;
                            if ids.contains(&target) {
                                logprobs[r] = logits[target - start];
                            }
                            let part = Softmax::of(logits);
                            softmaxes[r] = if start == 0 { part } else { softmaxes[r].with(part) };
                        }
                    });
                }
                for (logprob, softmax) in logprobs.iter_mut().zip(softmaxes) {
                    *logprob = (*logprob - softmax.max) - softmax.sum.ln();
                }
            });
        *self.softmaxes.lock().unwrap_or_else(PoisonError::into_inner) = softmaxes;
        let rows = logprobs.len();
        output(logprobs, rows)
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((tokens, width), (vocab, _)) = (hidden.dims2()?, weight.dims2()?);
        let g = g.contiguous()?;
        let (hidden_values, weight_values, g) = (Values::of(hidden)?, Values::of(weight)?, Values::of(&g)?);
        let w = Mat::new(&weight_values, vocab, width);
        let mut dhidden = vec![0.0; tokens * width];
        match &self.weight.gradient {
            None => self.gradients(&hidden_values, w, &g, &mut dhidden, None),
            Some(gradient) => gradient.add(weight.shape(), |dweight, filled| {
                self.gradients(&hidden_values, w, &g, &mut dhidden, Some((dweight, filled)));
            })?,
        }
        let dhidden = if hidden.track_op() { Some(tensor_like(dhidden, hidden)?) } else { None };
        Ok((dhidden, self.weight.take_for_candle()?))
    }
}

impl LinearLogprobs {
    /// Adds the gradients to `dhidden` and `dweight`. The flag of `dweight` is false if its buffer may
    /// be overwritten.
    ///
    /// With p = softmax(logits): d logits = g · (onehot(target) - p).
    fn gradients(
        &self,
        hidden: &[f32],
        w: Mat<'_>,
        g: &[f32],
        dhidden: &mut [f32],
        dweight: Option<(&mut [f32], bool)>,
    ) {
        let (vocab, width) = w.shape();
        let softmaxes = self.softmaxes.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.rows.len().clamp(1, LOGITS_HELD / VOCAB);
        let held = (LOGITS_HELD / most / VOCAB * VOCAB).min(vocab);
        let (mut x, mut dx, mut dlogits) =
            (Scratch::new(most * width), Scratch::new(most * width), Scratch::new(most * held));
        let (dweight, mut filled) =
            dweight.map_or((None, false), |(dweight, filled)| (Some(dweight), filled));
        let mut dweight = dweight.map(|dweight| MatMut::new(dweight, vocab, width));
        let rows = self.rows.chunks(most).zip(self.targets.chunks(most));
        for ((rows, targets), (softmaxes, g)) in rows.zip(softmaxes.chunks(most).zip(g.chunks(most))) {
            let n = rows.len();
            let (x, dx) = (&mut x[..n * width], &mut dx[..n * width]);
            gather(hidden, rows, width, x);
            let x: &[f32] = x;
            for start in (0..vocab).step_by(held) {
                let ids = start..(start + held).min(vocab);
                let (part, w) = (ids.len(), w.rows(ids.clone()));
                let dlogits = &mut dlogits[..n * part];
                x.par_chunks(ROWS * width)
                    .zip(dx.par_chunks_mut(ROWS * width).zip(dlogits.par_chunks_mut(ROWS * part)))
                    .zip(targets.par_chunks(ROWS).zip(softmaxes.par_chunks(ROWS).zip(g.par_chunks(ROWS))))
                    .for_each(|((x, (dx, dlogits)), (targets, (softmaxes, g)))| {
                        let n = targets.len();
                        matmul(MatMut::new(dlogits, n, part), false, Mat::new(x, n, width), w.t());
                        vectorised!(|| {
                            for r in 0..n {
                                let row = &mut dlogits[r * part..][..part];
                                let (Softmax { max, sum }, target) = (softmaxes[r], targets[r] as usize);
                                let scale = -g[r] / sum;
                                for logit in &mut *row {
                                    *logit = exp(*logit - max) * scale;
                                }
                                if ids.contains(&target) {
                                    row[target - start] += g[r];
                                }
                            }
                        });
                        matmul(MatMut::new(dx, n, width), start > 0, Mat::new(dlogits, n, part), w);
                    });
                if let Some(dweight) = &mut dweight {
                    let (x, dlogits) = (Mat::new(x, n, width), Mat::new(dlogits, n, part));
                    let blocks = dweight.rows(ids).row_blocks(VOCAB);
                    blocks.into_par_iter().enumerate().for_each(|(task, dweight)| {
                        let columns = task * VOCAB..task * VOCAB + dweight.height();
                        matmul(dweight, filled, dlogits.cols(columns).t(), x);
                    });
                }
            }
            scatter_add(dx, rows, width, dhidden);
            filled = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_and_with_finite_differences() {
        // Several parts of the vocabulary in both passes, a shorter last part, and a row that is used
        // twice.
        let (hidden, weight) = (random(&[400, 16], 1), random(&[16_900, 16], 2));
        let rows: Vec<u32> = (0..300).map(|r| (r * 7) % 400).chain([5, 5]).collect();
        let targets: Vec<u32> = (0..302).map(|r| (r * 131) % 16_900).collect();
        assert_same(
            &[&hidden, &weight],
            |t| linear_logprobs(&t[0], &t[1], &rows, &targets),
            |t| naive(&t[0], &t[1], &rows, &targets),
            2e-5,
        );
        assert_gradients(&[&random(&[4, 3], 3), &random(&[7, 3], 4)], |t| {
            linear_logprobs(&t[0], &t[1], &[0, 2, 3], &[6, 0, 1])
        });
    }

    #[test]
    fn more_rows_than_fit_at_a_time_agree_with_the_naive_version() {
        let (hidden, weight) = (random(&[500, 8], 1), random(&[520, 8], 2));
        let rows: Vec<u32> = (0..LOGITS_HELD as u32 / VOCAB as u32 + 700).map(|r| r % 500).collect();
        let targets: Vec<u32> = rows.iter().map(|row| (row * 131) % 520).collect();
        let fast = |t: &[Tensor]| linear_logprobs(&t[0], &t[1], &rows, &targets);
        assert_same(&[&hidden, &weight], fast, |t| naive(&t[0], &t[1], &rows, &targets), 1e-3);
    }

    #[test]
    fn without_rows_there_are_no_logprobs_and_the_gradient_is_zero() {
        let (hidden, weight) =
            (random(&[4, 3], 1), candle_core::Var::from_tensor(&random(&[7, 3], 2)).unwrap());
        let none = linear_logprobs(&hidden, &weight, &[], &[]).unwrap();
        assert_eq!(none.dims(), [0]);
        let gradients = none.sum_all().unwrap().backward().unwrap();
        assert_eq!(
            gradients.get(&weight).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(),
            0.0
        );
    }

    #[test]
    fn large_logits_neither_overflow_nor_lose_small_ones() {
        let hidden = Tensor::new(&[[1000.0f32]], &candle_core::Device::Cpu).unwrap();
        let weight = Tensor::new(&[[1.0f32], [0.9], [-1.0]], &candle_core::Device::Cpu).unwrap();
        let logprobs =
            linear_logprobs(&hidden, &weight, &[0, 0, 0], &[0, 1, 2]).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(logprobs, [0.0, -100.0, -2000.0]);
    }
}
