//! One decoder layer on slices, with a handwritten forward and backward pass.
//!
//! Intermediate results are not tensors: tokens go in blocks of [`ROWS_PER_TASK`] through norm,
//! projection and activation while they are in the core's cache, and the layer saves five buffers for
//! the backward pass.

mod backward;

use candle_core::{Result, Tensor, bail};
use janus_infer::kernels::norm::rms_norm;
use janus_infer::kernels::simd::vectorised;
use janus_infer::kernels::swiglu::swiglu;
use janus_infer::{ModelConfig, PerProjection, Projection};
use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::attention::{self, Inputs};
use super::gradient::Weight;
use super::storage::Values;
use super::weights::{BatchShape, LayerWeights, LowRank, ProjectionWeights};
use crate::matrix::{Mat, MatMut, matmul, weight_gradient_work};
use crate::scratch::Scratch;

/// One decoder layer in plain candle ops, on x `[tokens, hidden]`:
/// `h = x + o(attention(rope(q(n)), rope(k(n)), v(n)))` with `n = rms_norm(x)`, then
/// `h + down(swiglu(gate(m), up(m)))` with `m = rms_norm(h)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive(x: &Tensor, weights: &LayerWeights, shape: &BatchShape) -> Result<Tensor> {
    use super::naive::{attention, linear, rms_norm, rope, swiglu};
    let project = |x: &Tensor, projection: Projection| {
        let ProjectionWeights { weight, lora } = &weights.projections[projection];
        match lora {
            Some(lora) if lora.dropout.is_some() => linear(x, weight)? + lora.of(x, linear)?,
            Some(lora) => linear(x, &lora.merged(weight)?),
            None => linear(x, weight),
        }
    };
    let normed = rms_norm(x, &weights.input_layernorm, shape.rms_norm_eps)?;
    let q = rope(&project(&normed, Projection::Q)?, &shape.rope)?;
    let k = rope(&project(&normed, Projection::K)?, &shape.rope)?;
    let v = project(&normed, Projection::V)?;
    let mixed = attention(&q, &k, &v, shape.attention, &shape.cu_seqlens)?;
    let middle = (x + project(&mixed, Projection::O)?)?;
    let normed = rms_norm(&middle, &weights.post_attention_layernorm, shape.rms_norm_eps)?;
    let gated = swiglu(&project(&normed, Projection::Gate)?, &project(&normed, Projection::Up)?)?;
    middle + project(&gated, Projection::Down)?
}

/// The number of tokens and the widths of a layer.
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
    /// # Errors
    /// If a weight does not have the shape that the others imply.
    fn new(hidden: usize, weights: &LayerWeights<Weight>, shape: &BatchShape) -> Result<Self> {
        let (q, kv) = (shape.attention.width(), shape.attention.kv_width());
        let ffn = weights.projections[Projection::Gate].weight.tensor.dim(0)?;
        let sizes = Self::of_widths(shape.rope.tokens(), hidden, q, kv, ffn);
        for norm in [&weights.input_layernorm, &weights.post_attention_layernorm] {
            if norm.tensor.dims() != [hidden] {
                bail!("decoder: a norm of a layer has shape {:?}, expected [{hidden}]", norm.tensor.dims());
            }
        }
        for (projection, ProjectionWeights { weight, lora }) in weights.projections.iter() {
            let (name, expected) = (projection.short_name(), sizes.of(projection));
            if weight.tensor.dims() != expected {
                bail!(
                    "decoder: {name} of a layer has shape {:?}, expected {expected:?}",
                    weight.tensor.dims()
                );
            }
            let Some(LowRank { a, b, .. }) = lora else { continue };
            let ([out, input], rank) = (expected, a.tensor.dim(0)?);
            if a.tensor.dims() != [rank, input] || b.tensor.dims() != [out, rank] {
                bail!(
                    "decoder: the LoRA adapter of {name} of a layer has shapes {:?} and {:?}",
                    a.tensor.dims(),
                    b.tensor.dims()
                );
            }
        }
        Ok(sizes)
    }

    fn of_widths(tokens: usize, hidden: usize, q: usize, kv: usize, ffn: usize) -> Self {
        Self { tokens, hidden, q, kv, qkv: q + 2 * kv, ffn }
    }

    /// The sizes of a model's layer, for one token.
    fn of_model(model: &ModelConfig) -> Self {
        let (q, kv) =
            (model.num_attention_heads * model.head_dim, model.num_key_value_heads * model.head_dim);
        Self::of_widths(1, model.hidden_size, q, kv, model.intermediate_size)
    }

    /// The lengths of the buffers of [`SavedActivations`]: `x`, `qkv`, `mixed`, `middle`, `gate_up`.
    fn saved(&self) -> [usize; 5] {
        [self.hidden, self.qkv, self.q, self.hidden, 2 * self.ffn].map(|width| self.tokens * width)
    }

    /// The shape of a projection's weight, `[out, in]`.
    fn of(&self, projection: Projection) -> [usize; 2] {
        let Self { hidden, q, kv, ffn, .. } = *self;
        match projection {
            Projection::Q => [q, hidden],
            Projection::K | Projection::V => [kv, hidden],
            Projection::O => [hidden, q],
            Projection::Gate | Projection::Up => [ffn, hidden],
            Projection::Down => [hidden, ffn],
        }
    }
}

/// The activations that the forward pass saves for the backward pass.
pub(crate) struct SavedActivations {
    /// The layer's input: `[tokens, hidden]`.
    pub(crate) x: Scratch,
    /// Rotated queries, rotated keys, and values: `[tokens, qkv]`.
    qkv: Scratch,
    /// Output of the attention: `[tokens, q]`.
    mixed: Scratch,
    /// The residual stream between attention and MLP: `[tokens, hidden]`.
    middle: Scratch,
    /// `[tokens, 2 · ffn]`, gate before up.
    gate_up: Scratch,
}

impl SavedActivations {
    /// Bytes for each token of a batch.
    pub(crate) fn bytes_per_token(model: &ModelConfig) -> usize {
        size_of::<f32>() * Sizes::of_model(model).saved().iter().sum::<usize>()
    }

    /// Numbers in the work buffers of a layer's backward pass beside the saved activations, at the most, for a
    /// batch of `tokens`; `updates` says whether LoRA adapters are trained instead of the weights.
    pub(crate) fn backward_work(model: &ModelConfig, tokens: usize, updates: bool) -> usize {
        let sizes = Sizes::of_model(model);
        let Sizes { hidden, q, ffn, .. } = sizes;
        let weights = || Projection::ALL.map(|projection| sizes.of(projection).iter().product::<usize>());
        // The gradients of the output and of the middle, the norm's output, those of the attention and of the
        // MLP's three activations.
        let rows = tokens * (3 * hidden + q + 3 * ffn);
        let of_weights = if updates {
            weights().iter().sum() // each merged with its adapter
        } else {
            weight_gradient_work(tokens, weights().into_iter().max().unwrap_or(0))
        };
        rows + of_weights
    }

    /// Unfilled buffers for a layer whose input is `x`.
    fn new(x: Scratch, sizes: &Sizes) -> Self {
        let [_, qkv, mixed, middle, gate_up] = sizes.saved();
        let [qkv, mixed, middle, gate_up] = [qkv, mixed, middle, gate_up].map(Scratch::new);
        Self { x, qkv, mixed, middle, gate_up }
    }
}

/// A layer's weights and the batch that it runs on.
pub(crate) struct Layer {
    sizes: Sizes,
    shape: BatchShape,
    weights: LayerWeights<Weight>,
}

/// The weights as slices, during one pass.
struct Read<'a> {
    input_norm: Values<'a>,
    post_norm: Values<'a>,
    projections: PerProjection<ReadProjection<'a>>,
}

enum ReadProjection<'a> {
    Plain(Values<'a>),
    /// Merged with its LoRA adapter.
    Merged(Scratch),
}

impl Read<'_> {
    /// A projection as a matrix of `width` columns.
    fn projection(&self, projection: Projection, width: usize) -> Mat<'_> {
        let weight: &[f32] = match &self.projections[projection] {
            ReadProjection::Plain(values) => values,
            ReadProjection::Merged(values) => values,
        };
        Mat::new(weight, weight.len() / width, width)
    }
}

/// Rows `start..start + height` of a row-major buffer.
fn rows(data: &[f32], width: usize, start: usize, height: usize) -> &[f32] {
    &data[start * width..(start + height) * width]
}

impl Layer {
    /// A layer for one batch, without dropout.
    pub(crate) fn new(hidden: usize, weights: LayerWeights<Weight>, shape: &BatchShape) -> Result<Self> {
        Ok(Self { sizes: Sizes::new(hidden, &weights, shape)?, shape: shape.clone(), weights })
    }

    fn read(&self) -> Result<Read<'_>> {
        let LayerWeights { input_layernorm, projections, post_attention_layernorm } = &self.weights;
        Ok(Read {
            input_norm: Values::of(&input_layernorm.tensor)?,
            post_norm: Values::of(&post_attention_layernorm.tensor)?,
            projections: PerProjection::try_from_fn(|projection| read_projection(&projections[projection]))?,
        })
    }

    /// The layer's output, `[tokens, hidden]`, and the saved activations.
    pub(crate) fn forward(&self, x: Scratch) -> Result<(Scratch, SavedActivations)> {
        let Sizes { tokens, hidden, q, kv, qkv, ffn } = self.sizes;
        let eps = self.shape.rms_norm_eps as f32;
        let w = &self.read()?;
        let mut saved = SavedActivations::new(x, &self.sizes);
        let mut y = Scratch::new(tokens * hidden);
        let x = &*saved.x;

        saved.qkv.par_chunks_mut(ROWS_PER_TASK * qkv).enumerate().for_each(|(task, qkv_rows)| {
            let (start, n) = (task * ROWS_PER_TASK, qkv_rows.len() / qkv);
            let mut normed = Scratch::new(n * hidden);
            rms_norm(rows(x, hidden, start, n), &w.input_norm, eps, &mut normed);
            let normed = Mat::new(&normed, n, hidden);
            let (q_rows, kv_rows) = MatMut::new(qkv_rows, n, qkv).split_cols(q);
            let (k_rows, v_rows) = kv_rows.split_cols(kv);
            for (dst, projection) in
                [(q_rows, Projection::Q), (k_rows, Projection::K), (v_rows, Projection::V)]
            {
                matmul(dst, false, normed, w.projection(projection, hidden).t());
            }
            self.rotate(qkv_rows, start, false);
        });

        attention::forward(
            self.shape.attention,
            &self.shape.cu_seqlens,
            self.inputs(&saved.qkv),
            MatMut::new(&mut saved.mixed, tokens, q),
        );

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
                matmul(MatMut::new(middle, n, hidden), true, mixed, w.projection(Projection::O, q).t());
                let (mut normed, mut gated) = (Scratch::new(n * hidden), Scratch::new(n * ffn));
                rms_norm(middle, &w.post_norm, eps, &mut normed);
                let normed = Mat::new(&normed, n, hidden);
                let (gate_rows, up_rows) = MatMut::new(gate_up, n, 2 * ffn).split_cols(ffn);
                matmul(gate_rows, false, normed, w.projection(Projection::Gate, hidden).t());
                matmul(up_rows, false, normed, w.projection(Projection::Up, hidden).t());
                swiglu(gate_up, ffn, &mut gated);
                y.copy_from_slice(middle);
                matmul(
                    MatMut::new(y, n, hidden),
                    true,
                    Mat::new(&gated, n, ffn),
                    w.projection(Projection::Down, ffn).t(),
                );
            });
        Ok((y, saved))
    }

    fn inputs<'a>(&self, qkv: &'a [f32]) -> Inputs<'a> {
        let Sizes { tokens, q, kv, qkv: width, .. } = self.sizes;
        let all = Mat::new(qkv, tokens, width);
        Inputs { q: all.cols(0..q), k: all.cols(q..q + kv), v: all.cols(q + kv..width) }
    }

    /// Rotates queries and keys in some rows of `[tokens, qkv]`; the first row is token `start`.
    fn rotate(&self, rows: &mut [f32], start: usize, inverse: bool) {
        let Sizes { q, kv, qkv, .. } = self.sizes;
        vectorised!(|| {
            for i in 0..rows.len() / qkv {
                let row = &mut rows[i * qkv..][..qkv];
                self.shape.rope.rotate(start + i, &mut row[..q + kv], inverse);
            }
        });
    }
}

/// The values of a projection, merged with its LoRA adapter if it has one.
fn read_projection(weights: &ProjectionWeights<Weight>) -> Result<ReadProjection<'_>> {
    let values = Values::of(&weights.weight.tensor)?;
    let Some(lora) = &weights.lora else { return Ok(ReadProjection::Plain(values)) };
    let (a, b) = (Values::of(&lora.a.tensor)?, Values::of(&lora.b.tensor)?);
    let ((rank, input), out) = (lora.a.tensor.dims2()?, lora.b.tensor.dim(0)?);
    let mut product = Scratch::new(values.len());
    let scaled: Vec<f32> = b.iter().map(|b| b * lora.scale as f32).collect();
    product.copy_from_slice(&values);
    let blocks = MatMut::new(&mut product, out, input).row_blocks(ROWS_PER_TASK);
    blocks.into_par_iter().enumerate().for_each(|(task, block)| {
        let rows = task * ROWS_PER_TASK..task * ROWS_PER_TASK + block.height();
        matmul(block, true, Mat::new(&scaled, out, rank).rows(rows), Mat::new(&a, rank, input));
    });
    Ok(ReadProjection::Merged(product))
}

#[cfg(test)]
mod tests {
    use janus_infer::ModelSizes;

    use super::*;
    use crate::ops::testing::Case;

    #[test]
    fn estimated_bytes_are_those_that_a_layer_saves() {
        let (hidden, ffn, tokens) = (12, 20, 600);
        let case = Case::new(1, hidden, (4, 2), ffn, &[0, 90, tokens as u32]);
        let mut model = ModelConfig::llama(ModelSizes {
            vocab_size: 11,
            hidden_size: hidden,
            intermediate_size: ffn,
            num_hidden_layers: 1,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            max_position_embeddings: tokens,
        });
        model.head_dim = case.shape.attention.head_dim;
        let saved = case.run(&case.tensors, |_, weights, shape| {
            let layer =
                Layer::new(hidden, weights.layers[0].map(&|weight| Weight::new(weight, None)), shape)?;
            let mut x = Scratch::new(tokens * hidden);
            x.fill(1.0);
            let SavedActivations { x, qkv, mixed, middle, gate_up } = layer.forward(x)?.1;
            let bytes = [x, qkv, mixed, middle, gate_up]
                .iter()
                .map(|buffer| size_of_val::<[f32]>(buffer))
                .sum::<usize>();
            Tensor::new(bytes as f64, &candle_core::Device::Cpu)
        });
        assert_eq!(
            saved.unwrap().to_scalar::<f64>().unwrap() as usize,
            tokens * SavedActivations::bytes_per_token(&model)
        );
    }
}
