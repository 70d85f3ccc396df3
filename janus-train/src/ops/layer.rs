//! One decoder layer on slices, forward and backward by hand.
//!
//! Inside, nothing is a tensor of its own: tokens pass in blocks of [`ROWS_PER_TASK`] through norm, projection
//! and activation while they are in the core's cache, and the layer keeps five buffers for the backward pass.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::attention::{self, AttentionShape, Gradients, Inputs};
use super::grad_accumulator::{GradAccumulator, add_or_set};
use super::rope::RopeTable;
use super::storage::Values;
use super::{Dropout, ROWS_PER_TASK, rms_norm, swiglu};
use crate::matrix::{Mat, MatMut, matmul, par_weight_gradient};
use crate::scratch::Scratch;
use crate::simd::vectorised;

/// The weights of a layer, by their Hugging Face names. Projections are `[out, in]`, norms `[hidden]`.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the names are Hugging Face's")]
pub struct LayerWeights<'a> {
    pub input_layernorm: &'a Tensor,
    pub q_proj: &'a Tensor,
    pub k_proj: &'a Tensor,
    pub v_proj: &'a Tensor,
    pub o_proj: &'a Tensor,
    pub post_attention_layernorm: &'a Tensor,
    pub gate_proj: &'a Tensor,
    pub up_proj: &'a Tensor,
    pub down_proj: &'a Tensor,
    /// Low-rank updates of the projections, in the order of the fields above.
    pub lora: [Option<LowRank<'a>>; PROJECTIONS.len()],
}

/// Places of the projections among the nine weights.
pub(crate) const PROJECTIONS: [usize; 7] = [1, 2, 3, 4, 6, 7, 8];

/// A low-rank update of a projection W `[out, in]` (Hu et al., arXiv 2106.09685, equation 3), which then reads
/// W + scale · B · A.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// A, `[rank, in]`.
    pub a: &'a Tensor,
    /// B, `[out, rank]`.
    pub b: &'a Tensor,
    /// alpha / rank.
    pub scale: f64,
    /// Dropout of what A reads.
    pub dropout: Option<Dropout>,
}

impl LowRank<'_> {
    /// What the update adds to a projection of x `[tokens, in]`: scale · B · A · x, `[tokens, out]`.
    pub(super) fn of(&self, x: &Tensor, linear: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
        match self.dropout {
            Some(dropout) => linear(&linear(&dropout.mask(x)?, self.a)?, self.b)? * (self.scale * dropout.gain()),
            None => linear(&linear(x, self.a)?, self.b)? * self.scale,
        }
    }

    /// The projection with its update, nothing dropped, in plain candle ops and f32, in the projection's type.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn merged(&self, weight: &Tensor) -> Result<Tensor> {
        let f32 = |tensor: &Tensor| tensor.to_dtype(DType::F32);
        (f32(weight)? + (f32(self.b)?.matmul(&f32(self.a)?)? * self.scale)?)?.to_dtype(weight.dtype())
    }
}

/// What a layer needs to know of the model and the batch beside its weights.
#[derive(Clone)]
pub struct BatchShape {
    /// Heads and window.
    pub attention: AttentionShape,
    /// Rotary angles of the batch's tokens.
    pub rope: RopeTable,
    /// Documents of the batch.
    pub cu_seqlens: Arc<[u32]>,
    /// Epsilon of both norms.
    pub rms_norm_eps: f64,
    /// Keep only each layer's input for the backward pass, and compute the rest again (Chen et al., arXiv 1604.06174): a
    /// third more work for a tenth of the memory.
    pub recompute: bool,
}

/// One decoder layer in plain candle ops, on x `[tokens, hidden]`:
/// `h = x + o(attention(rope(q(n)), rope(k(n)), v(n)))` with `n = rms_norm(x)`, then
/// `h + down(swiglu(gate(m), up(m)))` with `m = rms_norm(h)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive(x: &Tensor, weights: LayerWeights<'_>, shape: &BatchShape) -> Result<Tensor> {
    use super::naive::{attention, linear, rms_norm, rope, swiglu};
    let lora = weights.lora;
    let weights = weights.merged()?;
    let weights = weights.borrowed();
    // The projection of the n-th place.
    let project = |x: &Tensor, n: usize| {
        let y = linear(x, weights.all()[PROJECTIONS[n]])?;
        match lora[n].filter(|lora| lora.dropout.is_some()) {
            Some(lora) => y + lora.of(x, linear)?,
            None => Ok(y),
        }
    };
    let normed = rms_norm(x, weights.input_layernorm, shape.rms_norm_eps)?;
    let q = rope(&project(&normed, 0)?, &shape.rope)?;
    let k = rope(&project(&normed, 1)?, &shape.rope)?;
    let v = project(&normed, 2)?;
    let mixed = attention(&q, &k, &v, shape.attention, &shape.cu_seqlens)?;
    let middle = (x + project(&mixed, 3)?)?;
    let normed = rms_norm(&middle, weights.post_attention_layernorm, shape.rms_norm_eps)?;
    let gated = swiglu(&project(&normed, 4)?, &project(&normed, 5)?)?;
    middle + project(&gated, 6)?
}

/// A layer's weights with the low-rank updates added that read their input whole.
struct Merged(Vec<Tensor>);

impl Merged {
    fn borrowed(&self) -> LayerWeights<'_> {
        let w = &self.0;
        LayerWeights {
            input_layernorm: &w[0],
            q_proj: &w[1],
            k_proj: &w[2],
            v_proj: &w[3],
            o_proj: &w[4],
            post_attention_layernorm: &w[5],
            gate_proj: &w[6],
            up_proj: &w[7],
            down_proj: &w[8],
            lora: [None; PROJECTIONS.len()],
        }
    }
}

impl<'a> LayerWeights<'a> {
    fn merged(&self) -> Result<Merged> {
        let mut all: Vec<Tensor> = self.all().into_iter().cloned().collect();
        for (i, lora) in PROJECTIONS.into_iter().zip(&self.lora) {
            if let Some(lora) = lora.filter(|lora| lora.dropout.is_none()) {
                all[i] = lora.merged(&all[i])?;
            }
        }
        Ok(Merged(all))
    }

    /// Whether a low-rank update drops a part of its input, and cannot be added to its weight.
    pub(crate) fn has_dropout(&self) -> bool {
        self.lora.iter().flatten().any(|lora| lora.dropout.is_some())
    }

    /// The nine weights, then A and B of each low-rank update.
    pub(crate) fn with_lora(&self) -> Vec<&'a Tensor> {
        let mut all = self.all().to_vec();
        all.extend(self.lora.iter().flatten().flat_map(|lora| [lora.a, lora.b]));
        all
    }

    /// In the order of [`janus_infer::ModelConfig::tensors`].
    pub(crate) fn all(&self) -> [&'a Tensor; 9] {
        [
            self.input_layernorm,
            self.q_proj,
            self.k_proj,
            self.v_proj,
            self.o_proj,
            self.post_attention_layernorm,
            self.gate_proj,
            self.up_proj,
            self.down_proj,
        ]
    }
}

/// Widths of a layer.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    hidden: usize,
    /// Width of the queries.
    q: usize,
    /// Width of the keys, and of the values.
    kv: usize,
    /// Width of queries, keys and values together.
    qkv: usize,
    /// Width inside the MLP.
    ffn: usize,
}

impl Sizes {
    fn new(hidden: usize, weights: &LayerWeights<'_>, shape: &BatchShape) -> Result<Self> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = shape.attention;
        let (q, kv, ffn) = (heads * head_dim, kv_heads * head_dim, weights.gate_proj.dim(0)?);
        let expected: [&[usize]; 9] = [
            &[hidden],
            &[q, hidden],
            &[kv, hidden],
            &[kv, hidden],
            &[hidden, q],
            &[hidden],
            &[ffn, hidden],
            &[ffn, hidden],
            &[hidden, ffn],
        ];
        for (i, (weight, expected)) in weights.all().iter().zip(expected).enumerate() {
            if weight.dims() != expected {
                bail!("decoder: weight {i} of a layer has shape {:?}, expected {expected:?}", weight.dims());
            }
        }
        for (i, lora) in PROJECTIONS.into_iter().zip(&weights.lora) {
            let Some(LowRank { a, b, .. }) = lora else { continue };
            let rank = a.dim(0)?;
            if a.dims() != [rank, expected[i][1]] || b.dims() != [expected[i][0], rank] {
                bail!("decoder: the low-rank update of weight {i} of a layer has shapes {:?} and {:?}", a.dims(), b.dims());
            }
        }
        Ok(Self { tokens: shape.rope.tokens(), hidden, q, kv, qkv: q + 2 * kv, ffn })
    }
}

/// What the backward pass needs of the forward pass.
pub(crate) struct SavedActivations {
    /// The layer's input: `[tokens, hidden]`.
    pub(crate) x: Scratch,
    /// Rotated queries and keys, and values: `[tokens, qkv]`.
    qkv: Scratch,
    /// Result of the attention: `[tokens, q]`.
    mixed: Scratch,
    /// The residual stream between the halves: `[tokens, hidden]`.
    middle: Scratch,
    /// `[tokens, 2 · ffn]`, gate before up.
    gate_up: Scratch,
}

/// A layer's weights and the batch that it runs on. The weights are shared, not copied: they must not change between
/// forward and backward.
pub(crate) struct Layer {
    sizes: Sizes,
    shape: BatchShape,
    weights: [Tensor; 9],
    lora: [Option<OwnedLowRank>; PROJECTIONS.len()],
    /// Of the nine weights, then of A and B of each low-rank update.
    accumulators: Vec<Option<GradAccumulator>>,
}

struct OwnedLowRank {
    a: Tensor,
    b: Tensor,
    scale: f32,
}

/// The weights as slices for the time of one pass.
struct Read<'a> {
    values: Vec<Values<'a>>,
    /// The projections that have low-rank updates, with these added.
    updated: [Option<Scratch>; 9],
}

impl Read<'_> {
    fn get(&self, i: usize) -> &[f32] {
        self.updated[i].as_deref().unwrap_or(&self.values[i])
    }

    /// A projection as a matrix of `width` columns.
    fn mat(&self, i: usize, width: usize) -> Mat<'_> {
        let weight = self.get(i);
        Mat::new(weight, weight.len() / width, width)
    }
}

const INPUT_NORM: usize = 0;
const Q: usize = 1;
const K: usize = 2;
const V: usize = 3;
const O: usize = 4;
const POST_NORM: usize = 5;
const GATE: usize = 6;
const UP: usize = 7;
const DOWN: usize = 8;

/// Rows `start..start + height` of a row-major buffer.
fn rows(data: &[f32], width: usize, start: usize, height: usize) -> &[f32] {
    &data[start * width..(start + height) * width]
}

impl Layer {
    /// A layer for one batch, with an accumulator (or none) for each of [`LayerWeights::with_lora`], and without dropout.
    pub(crate) fn new(
        hidden: usize,
        weights: &LayerWeights<'_>,
        shape: &BatchShape,
        accumulators: &[Option<GradAccumulator>],
    ) -> Result<Self> {
        let sizes = Sizes::new(hidden, weights, shape)?;
        let lora = weights
            .lora
            .map(|lora| lora.map(|LowRank { a, b, scale, .. }| OwnedLowRank { a: a.clone(), b: b.clone(), scale: scale as f32 }));
        Ok(Self { sizes, shape: shape.clone(), weights: weights.all().map(Tensor::clone), lora, accumulators: accumulators.to_vec() })
    }

    fn read(&self) -> Result<Read<'_>> {
        let values = self.weights.iter().map(Values::of).collect::<Result<Vec<_>>>()?;
        let mut updated = [const { None }; 9];
        for (i, lora) in PROJECTIONS.into_iter().zip(&self.lora) {
            let Some(lora) = lora else { continue };
            let (a, b) = (Values::of(&lora.a)?, Values::of(&lora.b)?);
            let ((rank, input), out) = (lora.a.dims2()?, lora.b.dim(0)?);
            let mut product = Scratch::new(values[i].len());
            let scaled: Vec<f32> = b.iter().map(|b| b * lora.scale).collect();
            product.copy_from_slice(&values[i]);
            let blocks = MatMut::new(&mut product, out, input).row_blocks(ROWS_PER_TASK);
            blocks.into_par_iter().enumerate().for_each(|(task, block)| {
                let rows = task * ROWS_PER_TASK..task * ROWS_PER_TASK + block.height();
                matmul(block, true, Mat::new(&scaled, out, rank).rows(rows), Mat::new(&a, rank, input));
            });
            updated[i] = Some(product);
        }
        Ok(Read { values, updated })
    }

    /// The layer's result, `[tokens, hidden]`.
    pub(crate) fn forward(&self, x: Scratch) -> Result<(Scratch, SavedActivations)> {
        let Sizes { tokens, hidden, q, kv, qkv, ffn } = self.sizes;
        let eps = self.shape.rms_norm_eps as f32;
        let w = &self.read()?;
        let mut saved = SavedActivations {
            x,
            qkv: Scratch::saved(tokens * qkv),
            mixed: Scratch::saved(tokens * q),
            middle: Scratch::saved(tokens * hidden),
            gate_up: Scratch::saved(tokens * 2 * ffn),
        };
        let mut y = Scratch::saved(tokens * hidden);
        let x = &*saved.x;

        saved.qkv.par_chunks_mut(ROWS_PER_TASK * qkv).enumerate().for_each(|(task, qkv_rows)| {
            let (start, n) = (task * ROWS_PER_TASK, qkv_rows.len() / qkv);
            let mut normed = Scratch::new(n * hidden);
            rms_norm::forward(rows(x, hidden, start, n), w.get(INPUT_NORM), eps, &mut normed);
            let normed = Mat::new(&normed, n, hidden);
            let (q_rows, kv_rows) = MatMut::new(qkv_rows, n, qkv).split_cols(q);
            let (k_rows, v_rows) = kv_rows.split_cols(kv);
            for (dst, weight) in [(q_rows, Q), (k_rows, K), (v_rows, V)] {
                matmul(dst, false, normed, w.mat(weight, hidden).t());
            }
            self.rotate(qkv_rows, start, false);
        });

        attention::forward(self.shape.attention, &self.shape.cu_seqlens, self.inputs(&saved.qkv), MatMut::new(&mut saved.mixed, tokens, q));

        let mixed = &*saved.mixed;
        saved
            .middle
            .par_chunks_mut(ROWS_PER_TASK * hidden)
            .zip(saved.gate_up.par_chunks_mut(ROWS_PER_TASK * 2 * ffn))
            .zip(y.par_chunks_mut(ROWS_PER_TASK * hidden))
            .enumerate()
            .for_each(|(task, ((middle, gate_up), y))| {
                let (start, n) = (task * ROWS_PER_TASK, middle.len() / hidden);
                middle.copy_from_slice(rows(x, hidden, start, n));
                let mixed = Mat::new(rows(mixed, q, start, n), n, q);
                matmul(MatMut::new(middle, n, hidden), true, mixed, w.mat(O, q).t());
                let (mut normed, mut gated) = (Scratch::new(n * hidden), Scratch::new(n * ffn));
                rms_norm::forward(middle, w.get(POST_NORM), eps, &mut normed);
                let normed = Mat::new(&normed, n, hidden);
                let (gate_rows, up_rows) = MatMut::new(gate_up, n, 2 * ffn).split_cols(ffn);
                matmul(gate_rows, false, normed, w.mat(GATE, hidden).t());
                matmul(up_rows, false, normed, w.mat(UP, hidden).t());
                vectorised(
                    #[inline(always)]
                    || {
                        for (gated, gate_up) in gated.chunks_exact_mut(ffn).zip(gate_up.chunks_exact(2 * ffn)) {
                            let (gate, up) = gate_up.split_at(ffn);
                            swiglu::forward(gate, up, gated);
                        }
                    },
                );
                y.copy_from_slice(middle);
                matmul(MatMut::new(y, n, hidden), true, Mat::new(&gated, n, ffn), w.mat(DOWN, ffn).t());
            });
        Ok((y, saved))
    }

    /// The gradient of x; those of the weights go to their accumulators.
    pub(crate) fn backward(&self, dy: &[f32], saved: &SavedActivations) -> Result<Scratch> {
        let Sizes { tokens, hidden, q, kv, qkv, ffn } = self.sizes;
        let eps = self.shape.rms_norm_eps as f32;
        let w = &self.read()?;
        let x = &*saved.x;

        // The MLP, down to the attention's result.
        let (mut gated, mut dgate_up) = (Scratch::new(tokens * ffn), Scratch::new(tokens * 2 * ffn));
        let (mut normed, mut dmiddle) = (Scratch::new(tokens * hidden), Scratch::new(tokens * hidden));
        let mut dmixed = Scratch::new(tokens * q);
        let dpost_norm: Vec<Vec<f32>> = gated
            .par_chunks_mut(ROWS_PER_TASK * ffn)
            .zip(dgate_up.par_chunks_mut(ROWS_PER_TASK * 2 * ffn))
            .zip(normed.par_chunks_mut(ROWS_PER_TASK * hidden).zip(dmiddle.par_chunks_mut(ROWS_PER_TASK * hidden)))
            .zip(dmixed.par_chunks_mut(ROWS_PER_TASK * q))
            .enumerate()
            .map(|(task, (((gated, dgate_up), (normed, dmiddle)), dmixed))| {
                let (start, n) = (task * ROWS_PER_TASK, normed.len() / hidden);
                let dy = rows(dy, hidden, start, n);
                let middle = rows(&saved.middle, hidden, start, n);
                let mut dnormed = Scratch::new(n * hidden);
                // The gradient of the gated activation, until swiglu::backward puts the activation in its place.
                matmul(MatMut::new(gated, n, ffn), false, Mat::new(dy, n, hidden), w.mat(DOWN, ffn));
                dgate_up.copy_from_slice(rows(&saved.gate_up, 2 * ffn, start, n));
                vectorised(
                    #[inline(always)]
                    || {
                        for (gate_up, gated) in dgate_up.chunks_exact_mut(2 * ffn).zip(gated.chunks_exact_mut(ffn)) {
                            let (gate, up) = gate_up.split_at_mut(ffn);
                            swiglu::backward(gate, up, gated);
                        }
                    },
                );
                let dgate_up = Mat::new(dgate_up, n, 2 * ffn);
                matmul(MatMut::new(&mut dnormed, n, hidden), false, dgate_up.cols(0..ffn), w.mat(GATE, hidden));
                matmul(MatMut::new(&mut dnormed, n, hidden), true, dgate_up.cols(ffn..2 * ffn), w.mat(UP, hidden));
                rms_norm::forward(middle, w.get(POST_NORM), eps, normed);
                dmiddle.copy_from_slice(dy);
                let mut dnorm = vec![0.0; hidden];
                rms_norm::backward(middle, w.get(POST_NORM), eps, &dnormed, dmiddle, &mut dnorm);
                matmul(MatMut::new(dmixed, n, q), false, Mat::new(dmiddle, n, hidden), w.mat(O, q));
                dnorm
            })
            .collect();

        let dgate_up_mat = Mat::new(&dgate_up, tokens, 2 * ffn);
        let normed_mat = Mat::new(&normed, tokens, hidden);
        self.project_gradient(GATE, dgate_up_mat.cols(0..ffn), normed_mat)?;
        self.project_gradient(UP, dgate_up_mat.cols(ffn..2 * ffn), normed_mat)?;
        self.project_gradient(DOWN, Mat::new(dy, tokens, hidden), Mat::new(&gated, tokens, ffn))?;
        self.project_gradient(O, Mat::new(&dmiddle, tokens, hidden), Mat::new(&saved.mixed, tokens, q))?;
        self.norm_gradient(POST_NORM, &dpost_norm);
        drop((gated, dgate_up));

        let mut dqkv = Scratch::new(tokens * qkv);
        let (dq, dkv) = MatMut::new(&mut dqkv, tokens, qkv).split_cols(q);
        let (dk, dv) = dkv.split_cols(kv);
        let dmixed = Mat::new(&dmixed, tokens, q);
        attention::backward(self.shape.attention, &self.shape.cu_seqlens, self.inputs(&saved.qkv), dmixed, Gradients { dq, dk, dv });

        // From queries, keys and values to x.
        let mut dx = Scratch::new(tokens * hidden);
        let dinput_norm: Vec<Vec<f32>> = dqkv
            .par_chunks_mut(ROWS_PER_TASK * qkv)
            .zip(normed.par_chunks_mut(ROWS_PER_TASK * hidden).zip(dx.par_chunks_mut(ROWS_PER_TASK * hidden)))
            .enumerate()
            .map(|(task, (dqkv, (normed, dx)))| {
                let (start, n) = (task * ROWS_PER_TASK, normed.len() / hidden);
                let x = rows(x, hidden, start, n);
                self.rotate(dqkv, start, true);
                let mut dnormed = Scratch::new(n * hidden);
                let dqkv = Mat::new(dqkv, n, qkv);
                matmul(MatMut::new(&mut dnormed, n, hidden), false, dqkv.cols(0..q), w.mat(Q, hidden));
                matmul(MatMut::new(&mut dnormed, n, hidden), true, dqkv.cols(q..q + kv), w.mat(K, hidden));
                matmul(MatMut::new(&mut dnormed, n, hidden), true, dqkv.cols(q + kv..qkv), w.mat(V, hidden));
                rms_norm::forward(x, w.get(INPUT_NORM), eps, normed);
                dx.copy_from_slice(rows(&dmiddle, hidden, start, n));
                let mut dnorm = vec![0.0; hidden];
                rms_norm::backward(x, w.get(INPUT_NORM), eps, &dnormed, dx, &mut dnorm);
                dnorm
            })
            .collect();
        let (dqkv, normed) = (Mat::new(&dqkv, tokens, qkv), Mat::new(&normed, tokens, hidden));
        self.project_gradient(Q, dqkv.cols(0..q), normed)?;
        self.project_gradient(K, dqkv.cols(q..q + kv), normed)?;
        self.project_gradient(V, dqkv.cols(q + kv..qkv), normed)?;
        self.norm_gradient(INPUT_NORM, &dinput_norm);
        Ok(dx)
    }

    /// Adds the gradients of a projection and of its low-rank update, given that of its result and its input. A frozen
    /// weight costs nothing here.
    ///
    /// With y = x(W + sBA)ᵀ: dW = dyᵀx, dB = s · dyᵀ(xAᵀ), dA = s · (dy·B)ᵀx.
    fn project_gradient(&self, weight: usize, dy: Mat<'_>, x: Mat<'_>) -> Result<()> {
        if let Some(accumulator) = &self.accumulators[weight] {
            accumulator.add(self.weights[weight].elem_count(), |dw, filled| par_weight_gradient(dw, filled, dy, x));
        }
        let place = PROJECTIONS.iter().position(|&projection| projection == weight).unwrap_or(0);
        let Some(OwnedLowRank { a, b, scale }) = &self.lora[place] else { return Ok(()) };
        let first = 9 + 2 * self.lora[..place].iter().flatten().count();
        let ((rank, input), out, tokens) = (a.dims2()?, b.dim(0)?, self.sizes.tokens);
        // Both go into the narrow matrices, of which there are few rows in either direction.
        let narrow = |wide: Mat<'_>, weight: Mat<'_>| {
            let mut product = Scratch::new(tokens * rank);
            let blocks = MatMut::new(&mut product, tokens, rank).row_blocks(ROWS_PER_TASK);
            blocks.into_par_iter().enumerate().for_each(|(task, mut block)| {
                let rows = task * ROWS_PER_TASK..task * ROWS_PER_TASK + block.height();
                matmul(block.reborrow(), false, wide.rows(rows), weight);
                (0..block.height()).for_each(|i| block.row(i).iter_mut().for_each(|x| *x *= scale));
            });
            product
        };
        if let Some(accumulator) = &self.accumulators[first + 1] {
            let inner = narrow(x, Mat::new(&Values::of(a)?, rank, input).t());
            accumulator.add(out * rank, |db, filled| par_weight_gradient(db, filled, dy, Mat::new(&inner, tokens, rank)));
        }
        if let Some(accumulator) = &self.accumulators[first] {
            let inner = narrow(dy, Mat::new(&Values::of(b)?, out, rank));
            accumulator.add(rank * input, |da, filled| par_weight_gradient(da, filled, Mat::new(&inner, tokens, rank), x));
        }
        Ok(())
    }

    fn norm_gradient(&self, norm: usize, parts: &[Vec<f32>]) {
        if let Some(accumulator) = &self.accumulators[norm] {
            let hidden = self.sizes.hidden;
            accumulator.add(hidden, |gradient, filled| add_or_set(gradient, filled, &rms_norm::sum_in_order(parts, hidden)));
        }
    }

    fn inputs<'a>(&self, qkv: &'a [f32]) -> Inputs<'a> {
        let Sizes { tokens, q, kv, qkv: width, .. } = self.sizes;
        let all = Mat::new(qkv, tokens, width);
        Inputs { q: all.cols(0..q), k: all.cols(q..q + kv), v: all.cols(q + kv..width) }
    }

    /// Rotates queries and keys of some rows of `[tokens, qkv]`, of which the first is token `start`.
    fn rotate(&self, rows: &mut [f32], start: usize, inverse: bool) {
        let Sizes { q, kv, qkv, .. } = self.sizes;
        vectorised(
            #[inline(always)]
            || {
                for (i, row) in rows.chunks_exact_mut(qkv).enumerate() {
                    self.shape.rope.rotate(start + i, &mut row[..q + kv], inverse);
                }
            },
        );
    }
}
