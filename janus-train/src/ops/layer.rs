//! One decoder layer on slices, forward and backward by hand.
//!
//! Inside, nothing is a tensor of its own: tokens pass in blocks of [`ROWS_PER_TASK`] through norm, projection
//! and activation while they are in the core's cache, and the layer keeps four buffers for the backward pass.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::attention::{self, AttentionShape, Gradients, Inputs};
use super::rope::RopeTable;
use super::storage::Values;
use super::{ROWS_PER_TASK, rms_norm, swiglu};
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
}

/// One decoder layer in plain candle ops, on x `[tokens, hidden]`:
/// `h = x + o(attention(rope(q(n)), rope(k(n)), v(n)))` with `n = rms_norm(x)`, then
/// `h + down(swiglu(gate(m), up(m)))` with `m = rms_norm(h)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive(x: &Tensor, weights: LayerWeights<'_>, shape: &BatchShape) -> Result<Tensor> {
    use super::naive::{attention, linear, rms_norm, rope, swiglu};
    let normed = rms_norm(x, weights.input_layernorm, shape.rms_norm_eps)?;
    let q = rope(&linear(&normed, weights.q_proj)?, &shape.rope)?;
    let k = rope(&linear(&normed, weights.k_proj)?, &shape.rope)?;
    let v = linear(&normed, weights.v_proj)?;
    let mixed = attention(&q, &k, &v, shape.attention, &shape.cu_seqlens)?;
    let middle = (x + linear(&mixed, weights.o_proj)?)?;
    let normed = rms_norm(&middle, weights.post_attention_layernorm, shape.rms_norm_eps)?;
    let gated = swiglu(&linear(&normed, weights.gate_proj)?, &linear(&normed, weights.up_proj)?)?;
    middle + linear(&gated, weights.down_proj)?
}

impl<'a> LayerWeights<'a> {
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
        Ok(Self { tokens: shape.rope.tokens(), hidden, q, qkv: q + 2 * kv, ffn })
    }
}

/// The weights as the products read them: projections of the same input joined.
struct Joined {
    input_norm: Scratch,
    qkv: Scratch,
    o: Scratch,
    post_norm: Scratch,
    gate_up: Scratch,
    down: Scratch,
}

/// What the backward pass needs of the forward pass.
pub(crate) struct Kept {
    /// The layer's input: `[tokens, hidden]`.
    x: Scratch,
    /// Turned queries and keys, and values: `[tokens, qkv]`.
    qkv: Scratch,
    /// Result of the attention: `[tokens, q]`.
    mixed: Scratch,
    /// The residual stream between the halves: `[tokens, hidden]`.
    middle: Scratch,
    /// `[tokens, 2 · ffn]`, gate before up.
    gate_up: Scratch,
}

/// A layer's weights and the batch that it runs on.
pub(crate) struct Layer {
    sizes: Sizes,
    shape: BatchShape,
    weights: Joined,
}

/// Rows `start..start + height` of a row-major buffer.
fn rows(data: &[f32], width: usize, start: usize, height: usize) -> &[f32] {
    &data[start * width..(start + height) * width]
}

impl Layer {
    /// Copies the weights, so that they may change before the backward pass.
    pub(crate) fn new(hidden: usize, weights: &LayerWeights<'_>, shape: &BatchShape) -> Result<Self> {
        let sizes = Sizes::new(hidden, weights, shape)?;
        let joined = |parts: &[&Tensor]| {
            let mut joined = Scratch::new(parts.iter().map(|part| part.elem_count()).sum());
            let mut rest = &mut joined[..];
            for part in parts {
                let (dst, next) = rest.split_at_mut(part.elem_count());
                dst.copy_from_slice(&Values::of(part)?);
                rest = next;
            }
            Ok::<_, candle_core::Error>(joined)
        };
        let weights = Joined {
            input_norm: joined(&[weights.input_layernorm])?,
            qkv: joined(&[weights.q_proj, weights.k_proj, weights.v_proj])?,
            o: joined(&[weights.o_proj])?,
            post_norm: joined(&[weights.post_attention_layernorm])?,
            gate_up: joined(&[weights.gate_proj, weights.up_proj])?,
            down: joined(&[weights.down_proj])?,
        };
        Ok(Self { sizes, shape: shape.clone(), weights })
    }

    /// The layer's result, `[tokens, hidden]`.
    pub(crate) fn forward(&self, x: Scratch) -> (Scratch, Kept) {
        let Sizes { tokens, hidden, q, qkv, ffn } = self.sizes;
        let eps = self.shape.rms_norm_eps as f32;
        let w = &self.weights;
        let mut kept = Kept {
            x,
            qkv: Scratch::new(tokens * qkv),
            mixed: Scratch::new(tokens * q),
            middle: Scratch::new(tokens * hidden),
            gate_up: Scratch::new(tokens * 2 * ffn),
        };
        let mut y = Scratch::new(tokens * hidden);
        let x = &*kept.x;

        kept.qkv.par_chunks_mut(ROWS_PER_TASK * qkv).enumerate().for_each(|(task, qkv_rows)| {
            let (start, n) = (task * ROWS_PER_TASK, qkv_rows.len() / qkv);
            let mut normed = Scratch::new(n * hidden);
            rms_norm::forward(rows(x, hidden, start, n), &w.input_norm, eps, &mut normed);
            matmul(MatMut::new(qkv_rows, n, qkv), false, Mat::new(&normed, n, hidden), Mat::new(&w.qkv, qkv, hidden).t());
            self.turn(qkv_rows, start, false);
        });

        attention::forward(self.shape.attention, &self.shape.cu_seqlens, self.inputs(&kept.qkv), MatMut::new(&mut kept.mixed, tokens, q));

        let mixed = &*kept.mixed;
        kept.middle
            .par_chunks_mut(ROWS_PER_TASK * hidden)
            .zip(kept.gate_up.par_chunks_mut(ROWS_PER_TASK * 2 * ffn))
            .zip(y.par_chunks_mut(ROWS_PER_TASK * hidden))
            .enumerate()
            .for_each(|(task, ((middle, gate_up), y))| {
                let (start, n) = (task * ROWS_PER_TASK, middle.len() / hidden);
                middle.copy_from_slice(rows(x, hidden, start, n));
                let mixed = Mat::new(rows(mixed, q, start, n), n, q);
                matmul(MatMut::new(middle, n, hidden), true, mixed, Mat::new(&w.o, hidden, q).t());
                let (mut normed, mut gated) = (Scratch::new(n * hidden), Scratch::new(n * ffn));
                rms_norm::forward(middle, &w.post_norm, eps, &mut normed);
                let up = Mat::new(&w.gate_up, 2 * ffn, hidden).t();
                matmul(MatMut::new(gate_up, n, 2 * ffn), false, Mat::new(&normed, n, hidden), up);
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
                matmul(MatMut::new(y, n, hidden), true, Mat::new(&gated, n, ffn), Mat::new(&w.down, hidden, ffn).t());
            });
        (y, kept)
    }

    /// The gradients of x and of the nine weights in the order of [`LayerWeights::all`].
    pub(crate) fn backward(&self, dy: &[f32], kept: &Kept) -> (Scratch, [Vec<f32>; 9]) {
        let Sizes { tokens, hidden, q, qkv, ffn } = self.sizes;
        let eps = self.shape.rms_norm_eps as f32;
        let w = &self.weights;
        let x = &*kept.x;

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
                let middle = rows(&kept.middle, hidden, start, n);
                let mut dnormed = Scratch::new(n * hidden);
                // The gradient of the gated activation, until swiglu::backward puts the activation in its place.
                matmul(MatMut::new(gated, n, ffn), false, Mat::new(dy, n, hidden), Mat::new(&w.down, hidden, ffn));
                dgate_up.copy_from_slice(rows(&kept.gate_up, 2 * ffn, start, n));
                vectorised(
                    #[inline(always)]
                    || {
                        for (gate_up, gated) in dgate_up.chunks_exact_mut(2 * ffn).zip(gated.chunks_exact_mut(ffn)) {
                            let (gate, up) = gate_up.split_at_mut(ffn);
                            swiglu::backward(gate, up, gated);
                        }
                    },
                );
                let up = Mat::new(&w.gate_up, 2 * ffn, hidden);
                matmul(MatMut::new(&mut dnormed, n, hidden), false, Mat::new(dgate_up, n, 2 * ffn), up);
                rms_norm::forward(middle, &w.post_norm, eps, normed);
                dmiddle.copy_from_slice(dy);
                let mut dnorm = vec![0.0; hidden];
                rms_norm::backward(middle, &w.post_norm, eps, &dnormed, dmiddle, &mut dnorm);
                matmul(MatMut::new(dmixed, n, q), false, Mat::new(dmiddle, n, hidden), Mat::new(&w.o, hidden, q));
                dnorm
            })
            .collect();

        let mut ddown = vec![0.0; hidden * ffn];
        let mut dgate_up_weight = vec![0.0; 2 * ffn * hidden];
        let mut do_weight = vec![0.0; hidden * q];
        rayon::join(
            || par_weight_gradient(&mut dgate_up_weight, Mat::new(&dgate_up, tokens, 2 * ffn), Mat::new(&normed, tokens, hidden)),
            || {
                par_weight_gradient(&mut ddown, Mat::new(dy, tokens, hidden), Mat::new(&gated, tokens, ffn));
                par_weight_gradient(&mut do_weight, Mat::new(&dmiddle, tokens, hidden), Mat::new(&kept.mixed, tokens, q));
            },
        );
        drop((gated, dgate_up));

        let mut dqkv = Scratch::new(tokens * qkv);
        let (dq, dkv) = MatMut::new(&mut dqkv, tokens, qkv).split_cols(q);
        let (dk, dv) = dkv.split_cols((qkv - q) / 2);
        let dmixed = Mat::new(&dmixed, tokens, q);
        attention::backward(self.shape.attention, &self.shape.cu_seqlens, self.inputs(&kept.qkv), dmixed, Gradients { dq, dk, dv });

        // From queries, keys and values to x.
        let mut dx = Scratch::new(tokens * hidden);
        let dinput_norm: Vec<Vec<f32>> = dqkv
            .par_chunks_mut(ROWS_PER_TASK * qkv)
            .zip(normed.par_chunks_mut(ROWS_PER_TASK * hidden).zip(dx.par_chunks_mut(ROWS_PER_TASK * hidden)))
            .enumerate()
            .map(|(task, (dqkv, (normed, dx)))| {
                let (start, n) = (task * ROWS_PER_TASK, normed.len() / hidden);
                let x = rows(x, hidden, start, n);
                self.turn(dqkv, start, true);
                let mut dnormed = Scratch::new(n * hidden);
                matmul(MatMut::new(&mut dnormed, n, hidden), false, Mat::new(dqkv, n, qkv), Mat::new(&w.qkv, qkv, hidden));
                rms_norm::forward(x, &w.input_norm, eps, normed);
                dx.copy_from_slice(rows(&dmiddle, hidden, start, n));
                let mut dnorm = vec![0.0; hidden];
                rms_norm::backward(x, &w.input_norm, eps, &dnormed, dx, &mut dnorm);
                dnorm
            })
            .collect();
        let mut dqkv_weight = vec![0.0; qkv * hidden];
        par_weight_gradient(&mut dqkv_weight, Mat::new(&dqkv, tokens, qkv), Mat::new(&normed, tokens, hidden));

        let dv_weight = dqkv_weight.split_off((qkv + q) / 2 * hidden);
        let dk_weight = dqkv_weight.split_off(q * hidden);
        let dup_weight = dgate_up_weight.split_off(ffn * hidden);
        let dweights = [
            rms_norm::sum_in_order(&dinput_norm, hidden),
            dqkv_weight,
            dk_weight,
            dv_weight,
            do_weight,
            rms_norm::sum_in_order(&dpost_norm, hidden),
            dgate_up_weight,
            dup_weight,
            ddown,
        ];
        (dx, dweights)
    }

    fn inputs<'a>(&self, qkv: &'a [f32]) -> Inputs<'a> {
        let Sizes { tokens, q, qkv: width, .. } = self.sizes;
        let all = Mat::new(qkv, tokens, width);
        let v = (width + q) / 2;
        Inputs { q: all.cols(0..q), k: all.cols(q..v), v: all.cols(v..width) }
    }

    /// Turns queries and keys of some rows of `[tokens, qkv]`, of which the first is token `start`.
    fn turn(&self, rows: &mut [f32], start: usize, inverse: bool) {
        let Sizes { q, qkv, .. } = self.sizes;
        vectorised(
            #[inline(always)]
            || {
                for (i, row) in rows.chunks_exact_mut(qkv).enumerate() {
                    self.shape.rope.turn(start + i, &mut row[..(qkv + q) / 2], inverse);
                }
            },
        );
    }
}
