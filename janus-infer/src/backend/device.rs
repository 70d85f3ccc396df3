//! The decoder on a device, through candle's operations.
//!
//! All rows of a call go through each matrix product together. Their keys and values are written to
//! blocks in the device's memory ([`Slabs`]). Attention gathers the blocks of sequences of similar
//! lengths and pads them to one length ([`plan`]). The indices are computed once per call and are the
//! same for all layers. Only the logits are copied back from the device.
//!
//! The residual stream, norms, rotary embeddings and softmax are `f32`; matrix products are computed in
//! the weights' type. candle-nn's fused operations are used: they have no backward pass, and inference
//! needs none.

mod plan;
mod slabs;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::rope_thd;
use half::{bf16, f16};
use rayon::prelude::*;

use super::weights::{DecoderWeights, Source};
use crate::batch::SequenceInput;
use crate::files::{Encoding, Matrix};
use crate::kernels::{AttentionShape, rope};
use crate::kv::{BlockStore, CacheWriter, Reservation};
use crate::{ModelConfig, Result};
use plan::{Attend, Plan};
use slabs::Slabs;

/// A model on a device.
pub(crate) struct DeviceDecoder {
    config: Arc<ModelConfig>,
    device: Device,
    /// The type of matrix products, keys and values.
    dtype: DType,
    /// Matrices are `[rows, depth]`, as in checkpoints.
    weights: DecoderWeights<Tensor, Tensor>,
    frequencies: Vec<f32>,
    blocks: Arc<BlockStore>,
    slabs: Mutex<Slabs>,
}

impl DeviceDecoder {
    /// The type to compute in: that of the first layer's `q_proj`. Quantised weights become `f16`, which
    /// represents their scales and has three bits of mantissa more than `bf16`.
    pub(crate) fn dtype(config: &ModelConfig, source: &Source<'_, '_>) -> Result<DType> {
        let width = config.num_attention_heads * config.head_dim;
        let queries = (source.matrix)("model.layers.0.self_attn.q_proj.weight", width, config.hidden_size)?;
        Ok(float(queries.encoding).unwrap_or(DType::F16))
    }

    /// Reads the weights. A `value_head` stays `f32`.
    pub(crate) fn build(
        config: &Arc<ModelConfig>,
        value_head: Option<&[f32]>,
        source: &Source<'_, '_>,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let hidden = config.hidden_size;
        let head = value_head
            .map(|head| upload(&[Matrix::in_f32(head, 1, hidden)], DType::F32, device))
            .transpose()?;
        let norm = |weight: Vec<f32>| Ok(Tensor::from_vec(weight, hidden, device)?);
        let weights =
            DecoderWeights::build(config, head, source, norm, |matrices| upload(matrices, dtype, device))?;
        let blocks = Arc::new(BlockStore::on_device(config, dtype.size_in_bytes()));
        let slabs = Mutex::new(Slabs::new(blocks.layout(), dtype, device));
        let frequencies = rope::frequencies(config.rope_theta, config.head_dim, config.rope_scaling.as_ref());
        Ok(Self {
            config: Arc::clone(config),
            device: device.clone(),
            dtype,
            weights,
            frequencies,
            blocks,
            slabs,
        })
    }

    /// The memory of its KV caches.
    pub(crate) fn blocks(&self) -> &Arc<BlockStore> {
        &self.blocks
    }

    /// Runs inputs that were checked; `logits` has the size of the rows that are wanted. After an error
    /// the caches are empty.
    pub(crate) fn forward(&self, inputs: &mut [SequenceInput<'_>], logits: &mut [f32]) -> Result<()> {
        let ids: Vec<u32> = inputs.iter().flat_map(|input| input.tokens).copied().collect();
        let mut end = 0;
        let wanted = inputs.iter().flat_map(|input| {
            end += input.tokens.len();
            (end - input.logit_rows()) as u32..end as u32
        });
        let wanted: Vec<u32> = wanted.collect();
        // One pass at a time, because blocks are written in place.
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = inputs.iter_mut().map(|input| input.cache.reserve(input.tokens.len())).collect();
        let caches = self.prepare(&mut slabs, reserved)?;
        self.forward_rows(&slabs, &caches, ids, wanted, logits)?;
        caches.into_iter().for_each(CacheWriter::commit);
        Ok(())
    }

    /// Makes room for all blocks in use, and makes the copies that new blocks begin as.
    fn prepare<'c>(
        &self,
        slabs: &mut Slabs,
        reserved: Vec<Reservation<'c>>,
    ) -> candle_core::Result<Vec<CacheWriter<'c>>> {
        let (needed, limit) = self.blocks.capacity();
        slabs.make_room(needed, limit)?;
        let copies: Vec<_> = reserved.iter().flat_map(Reservation::copies).collect();
        slabs.copy(&copies)?;
        Ok(reserved.into_iter().map(Reservation::copied).collect())
    }

    fn forward_rows(
        &self,
        slabs: &Slabs,
        caches: &[CacheWriter<'_>],
        ids: Vec<u32>,
        wanted: Vec<u32>,
        logits: &mut [f32],
    ) -> candle_core::Result<()> {
        let Self { config, device, dtype, weights, .. } = self;
        let shape = AttentionShape::of(config);
        let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
        let (ffn, eps) = (config.intermediate_size, config.rms_norm_eps as f32);
        let rows = ids.len();
        let plan = Plan::new(shape, caches, device)?;
        let (cosines, sines) = self.angles(caches)?;

        let table = weights.embedding.as_ref().unwrap_or(&weights.head);
        let mut x = table.index_select(&Tensor::from_vec(ids, rows, device)?, 0)?.to_dtype(DType::F32)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            let normed = rms_norm(&x, &layer.attention_norm, eps)?.to_dtype(*dtype)?;
            let qkv = product(&normed, &layer.qkv)?.reshape((rows, heads + 2 * kv_heads, head_dim))?;
            let rotated =
                qkv.narrow(1, 0, heads + kv_heads)?.to_dtype(DType::F32)?.contiguous()?.unsqueeze(0)?;
            let rotated = rope_thd(&rotated, &cosines, &sines)?.squeeze(0)?;
            let queries = (rotated.narrow(1, 0, heads)? * f64::from(shape.scale()))?.to_dtype(*dtype)?;
            let of_heads = |rows: &Tensor, first: usize| {
                rows.narrow(1, first, kv_heads)?.transpose(0, 1)?.to_dtype(*dtype)?.contiguous()
            };
            slabs.write(
                index,
                &plan.writes,
                [&of_heads(&rotated, heads)?, &of_heads(&qkv, heads + kv_heads)?],
            )?;
            let attended = plan.attends.iter().map(|attend| self.attend(slabs, index, attend, &queries));
            let attended = match attended.collect::<candle_core::Result<Vec<_>>>()?.as_slice() {
                [one] => one.clone(),
                many => Tensor::cat(many, 0)?,
            };
            let attended =
                plan.order.iter().try_fold(attended, |attended, order| attended.index_select(order, 0))?;
            x = (x + product(&attended, &layer.attention_out)?.to_dtype(DType::F32)?)?;

            let normed = rms_norm(&x, &layer.mlp_norm, eps)?.to_dtype(*dtype)?;
            let gate_up = product(&normed, &layer.gate_up)?;
            let inner = (gate_up.narrow(1, 0, ffn)?.silu()? * gate_up.narrow(1, ffn, ffn)?)?;
            x = (x + product(&inner, &layer.down)?.to_dtype(DType::F32)?)?;
        }

        if wanted.is_empty() {
            return Ok(());
        }
        let count = wanted.len();
        let x = if count == rows { x } else { x.index_select(&Tensor::from_vec(wanted, count, device)?, 0)? };
        let normed = rms_norm(&x, &weights.final_norm, eps)?.to_dtype(weights.head.dtype())?;
        let rows = product(&normed, &weights.head)?.to_dtype(DType::F32)?;
        logits.copy_from_slice(&rows.flatten_all()?.to_vec1()?);
        Ok(())
    }

    /// Attention of one group of spans, `[spans * tokens, heads * head_dim]`, given the queries of all
    /// rows, `[rows, heads, head_dim]`.
    fn attend(
        &self,
        slabs: &Slabs,
        layer: usize,
        attend: &Attend,
        queries: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (kv_heads, head_dim) = (self.config.num_key_value_heads, self.config.head_dim);
        let group = self.config.num_attention_heads / kv_heads;
        let Attend { spans, tokens, positions, rows, blocks, mask } = attend;
        let queries = rows.iter().try_fold(queries.clone(), |queries, rows| queries.index_select(rows, 0))?;
        let queries =
            queries.reshape((*spans, *tokens, kv_heads, group, head_dim))?.permute((2, 0, 3, 1, 4))?;
        let queries = queries.contiguous()?.reshape((kv_heads, *spans, group * tokens, head_dim))?;
        let [keys, values] = slabs.read(layer, blocks)?;
        let of_spans = |gathered: Tensor| gathered.reshape((kv_heads, *spans, *positions, head_dim));
        let scores = queries.matmul(&of_spans(keys)?.t()?)?.to_dtype(DType::F32)?;
        let scores = scores.reshape((kv_heads, *spans, group, *tokens, *positions))?.broadcast_add(mask)?;
        let weights = softmax_last_dim(&scores)?.to_dtype(self.dtype)?;
        let weights = weights.reshape((kv_heads, *spans, group * tokens, *positions))?;
        let attended =
            weights.matmul(&of_spans(values)?)?.reshape((kv_heads, *spans, group, *tokens, head_dim))?;
        attended
            .permute((1, 3, 0, 2, 4))?
            .contiguous()?
            .reshape((spans * tokens, kv_heads * group * head_dim))
    }

    /// Cosines and sines of the new tokens' rotary angles, `[rows, head_dim / 2]` each.
    fn angles(&self, caches: &[CacheWriter<'_>]) -> candle_core::Result<(Tensor, Tensor)> {
        let mut angles = Vec::new();
        for cache in caches {
            (0..cache.tokens())
                .for_each(|i| rope::push_angles(cache.len() + i, &self.frequencies, &mut angles));
        }
        let half = self.frequencies.len();
        let angles = Tensor::from_vec(angles, ((), 2, half), &self.device)?;
        let part = |which: usize| angles.narrow(1, which, 1)?.squeeze(1)?.contiguous();
        Ok((part(0)?, part(1)?))
    }
}

/// `x Wᵀ`.
fn product(x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
    x.matmul(&weight.transpose(D::Minus2, D::Minus1)?)
}

/// The type as a floating-point type of candle; `None` for quantised ones.
fn float(encoding: Encoding) -> Option<DType> {
    match encoding {
        Encoding::F32 => Some(DType::F32),
        Encoding::F16 => Some(DType::F16),
        Encoding::Bf16 => Some(DType::BF16),
        _ => None,
    }
}

/// Uploads matrices, concatenated along the rows: `[rows, depth]`.
fn upload(matrices: &[Matrix<'_>], dtype: DType, device: &Device) -> Result<Tensor> {
    let depth = matrices.first().map_or(0, |matrix| matrix.depth);
    let rows: Vec<_> =
        matrices.iter().flat_map(|matrix| (0..matrix.rows).map(move |row| (matrix, row))).collect();
    let width = depth * dtype.size_in_bytes();
    let mut bytes = vec![0; rows.len() * width];
    bytes.par_chunks_exact_mut(width).zip(&rows).for_each_init(
        || vec![0f32; depth],
        |values, (out, (matrix, row))| {
            let row = matrix.row(*row);
            if float(matrix.encoding) == Some(dtype) {
                return out.copy_from_slice(row);
            }
            matrix.encoding.decode(row, values);
            match dtype {
                DType::F16 => write(out, values, |value| f16::from_f32(value).to_le_bytes()),
                DType::BF16 => write(out, values, |value| bf16::from_f32(value).to_le_bytes()),
                _ => write(out, values, f32::to_le_bytes),
            }
        },
    );
    Ok(Tensor::from_raw_buffer(&bytes, dtype, &[rows.len(), depth], device)?)
}

fn write<const N: usize>(out: &mut [u8], values: &[f32], bytes: impl Fn(f32) -> [u8; N]) {
    let (out, _) = out.as_chunks_mut();
    out.iter_mut().zip(values).for_each(|(out, value)| *out = bytes(*value));
}
