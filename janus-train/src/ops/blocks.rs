//! The decoder in candle's own ops, for bf16 weights, for devices other than the CPU, and for dropout.
//!
//! Work is split into blocks: a layer, a tile of queries, or a part of the head's rows. Each block is
//! one node of candle's graph. If its activations are recomputed, the forward pass records no graph, and
//! the backward pass runs the forward pass again with one. The backward pass adds the weights' gradients
//! to their f32 accumulators at once. Matrix products and activations have the weights' dtype; norms,
//! softmax, log-softmax and sums of gradients are f32.

mod attention;
mod linear_logprobs;
mod node;

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};
use janus_infer::{ModelConfig, Projection};

use super::gradient::Weight;
use super::product::product;
use super::rope::RopeAngles;
use super::weights::{BatchShape, DecoderWeights, LayerWeights, ProjectionWeights};
use super::{embedding, rms_norm, swiglu};
pub(super) use attention::attention;
pub(super) use linear_logprobs::linear_logprobs;
use node::{Computed, block};

/// Queries of each head whose scores are in memory at a time, if the decoder runs in blocks.
pub const BLOCK_QUERIES: usize = 512;
/// Logits that [`linear_logprobs`](super::linear_logprobs()) computes at a time, if it runs in blocks.
/// Its backward pass needs about six tensors of that size.
pub const BLOCK_LOGITS: usize = 1 << 25;

/// Bytes for each token of a batch that a bf16 layer saves for the backward pass. candle keeps the
/// result of every op: matrix products, attention, the gate and sums in bf16; norms and rotations, with
/// their intermediate results, in f32.
pub(crate) fn saved_bytes_per_token(model: &ModelConfig) -> usize {
    let (q, kv) = (model.num_attention_heads * model.head_dim, model.num_key_value_heads * model.head_dim);
    // Two norms, each with the input, its square, the quotient and the product in f32, and the result in
    // bf16.
    let norms = 2 * (4 * 4 + 2) * model.hidden_size;
    // Rotations of queries and keys: the input, four products, two sums and their concatenation in f32,
    // the result in bf16.
    let rotations = (4 + 8 + 4 + 4 + 2) * (q + kv);
    // The layer's input; the results of o_proj, down_proj and the two sums; a copy of the last sum, the
    // layer's output.
    let residual = 2 * 6 * model.hidden_size;
    // The results of q_proj, k_proj and v_proj, their concatenation, and the result of the attention.
    let attention = 2 * (2 * (q + 2 * kv) + q);
    // The results of gate_proj, up_proj and silu, and the product.
    let gated = 2 * 4 * model.intermediate_size;
    norms + rotations + residual + attention + gated
}

/// Bytes of the scores of one tile of queries, of the softmax weights and of the gradients of both, in
/// f32.
pub(crate) fn score_bytes(model: &ModelConfig, keys: usize) -> usize {
    5 * size_of::<f32>() * model.num_attention_heads * BLOCK_QUERIES * keys
}

/// Hidden states after the final norm; see [`decoder`](super::decoder()).
pub(super) fn decoder(ids: &[u32], weights: &DecoderWeights<Weight>, shape: &BatchShape) -> Result<Tensor> {
    let mut x = embed(&weights.embed_tokens, ids)?;
    let angles = Arc::new(RopeAngles::new(&shape.rope, x.device())?);
    for weights in &weights.layers {
        let tensors = weights.map(&|weight| weight.tensor.clone());
        let (shape, angles) = (shape.clone(), angles.clone());
        let recompute = shape.recompute;
        let forward =
            move |x: &Tensor, read: &dyn Fn(&Tensor) -> Tensor| layer(x, &tensors.map(read), &shape, &angles);
        x = block("layer", &x, &weights.all(), recompute, Arc::new(forward))?;
    }
    let (norm, eps) = (weights.norm.tensor.clone(), shape.rms_norm_eps);
    block("norm", &x, &[&weights.norm], false, Arc::new(move |x, read| rms_norm::naive(x, &read(&norm), eps)))
}

/// Looks up rows of the table; their gradients are summed in f32.
fn embed(table: &Weight, ids: &[u32]) -> Result<Tensor> {
    let Weight { tensor: table, gradient, .. } = table;
    let value = embedding::naive(&table.detach(), ids)?;
    let Some(sum) = gradient.clone() else { return Ok(value) };
    let (shape, device) = (table.dims2()?, table.device().clone());
    let ids = Tensor::from_slice(ids, ids.len(), &device)?;
    let backward = move |dy: &Tensor| {
        sum.add_tensor(&Tensor::zeros(shape, DType::F32, &device)?.index_add(
            &ids,
            &dy.to_dtype(DType::F32)?,
            0,
        )?)?;
        Ok(None)
    };
    Computed::node("embed", table, table, &value, Box::new(backward))
}

/// One layer.
fn layer(x: &Tensor, weights: &LayerWeights, shape: &BatchShape, angles: &RopeAngles) -> Result<Tensor> {
    let project = |x: &Tensor, projection: Projection| {
        let ProjectionWeights { weight, lora } = &weights.projections[projection];
        let y = linear(x, weight)?;
        match lora {
            Some(lora) => y + lora.of(x, linear)?,
            None => Ok(y),
        }
    };
    let normed = rms_norm::naive(x, &weights.input_layernorm, shape.rms_norm_eps)?;
    let (q, k) = (
        angles.rotate(&project(&normed, Projection::Q)?)?,
        angles.rotate(&project(&normed, Projection::K)?)?,
    );
    let mixed = attention(&q, &k, &project(&normed, Projection::V)?, shape.attention, &shape.cu_seqlens)?;
    let middle = (x + project(&mixed, Projection::O)?)?;
    let normed = rms_norm::naive(&middle, &weights.post_attention_layernorm, shape.rms_norm_eps)?;
    let gated = swiglu::naive(&project(&normed, Projection::Gate)?, &project(&normed, Projection::Up)?)?;
    middle + project(&gated, Projection::Down)?
}

/// `x · weightᵀ` in the inputs' dtype, with gradients only for tracked inputs.
pub(super) fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    product(&x.contiguous()?, &weight.contiguous()?.t()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::ops;
    use crate::ops::gradient::{GradAccumulator, GradSink};
    use crate::ops::testing::{Case, random};
    use crate::ops::weights::LowRank;

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The value, and the gradient of every tensor of the case and of the LoRA adapters after them.
    type Run = (Vec<f32>, Vec<Option<Vec<f32>>>);

    /// Runs a decoder with LoRA adapters for its first and last projection. `tracked` selects the
    /// trainable tensors by index: first the tensors of the case, then those of the adapters.
    fn run(
        case: &Case,
        low_rank: &[Tensor],
        dtype: DType,
        recompute: bool,
        by_blocks: bool,
        tracked: impl Fn(usize) -> bool,
    ) -> Run {
        let tensors: Vec<Tensor> =
            case.tensors.iter().chain(low_rank).map(|t| t.to_dtype(dtype).unwrap().copy().unwrap()).collect();
        let own = |(i, t): (usize, &Tensor)| {
            if tracked(i) { Var::from_tensor(t).unwrap().into_inner() } else { t.clone() }
        };
        let tensors: Vec<Tensor> = tensors.iter().enumerate().map(own).collect();
        let (base, updates) = tensors.split_at(case.tensors.len());
        let shape = BatchShape { recompute, ..case.shape.clone() };
        let mut gradients = Vec::new();
        let y = case.run(base, |ids, weights, _| {
            let mut weights = weights.clone();
            if let [a, b, c, d] = updates {
                let lora = |a: &Tensor, b: &Tensor| {
                    Some(LowRank { a: a.clone(), b: b.clone(), scale: 0.5, dropout: None })
                };
                weights.layers[0].projections[Projection::Q].lora = lora(a, b);
                weights.layers[0].projections[Projection::Down].lora = lora(c, d);
            }
            let cotangent = |y: &Tensor| random(y.dims(), 99).to_dtype(y.dtype()).unwrap();
            if !by_blocks {
                let y = ops::naive::decoder(ids, &weights, &shape)?;
                let mut store = (&y * cotangent(&y))?.sum_all()?.backward()?;
                let gradient = |weight: &Tensor| {
                    if weight.is_variable() { store.remove(weight).map(|g| flat(&g)) } else { None }
                };
                gradients.extend(tensors.iter().map(gradient));
                return Ok(y);
            }
            let sums: Vec<GradAccumulator> = tensors.iter().map(|_| GradAccumulator::default()).collect();
            let sink = GradSink::new(tensors.iter().zip(sums.iter().cloned()));
            let y = decoder(ids, &weights.map(&|tensor| Weight::new(tensor, Some(&sink))), &shape)?;
            drop((&y * cotangent(&y))?.sum_all()?.backward()?);
            for sum in sums {
                let gradient = sum.sum();
                assert!(gradient.as_ref().is_none_or(|gradient| gradient.dtype() == DType::F32));
                gradients.push(gradient.map(|gradient| flat(&gradient)));
            }
            Ok(y)
        });
        (flat(&y.unwrap()), gradients)
    }

    fn low_rank() -> [Tensor; 4] {
        [random(&[3, 12], 31), random(&[16, 3], 32), random(&[3, 20], 33), random(&[12, 3], 34)]
    }

    /// The largest relative distance of two vectors of the runs, in units of the second vector's norm.
    fn distance(a: &Run, b: &Run) -> f32 {
        let of = |a: &[f32], b: &[f32]| {
            let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
            norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
        };
        let mut worst = of(&a.0, &b.0);
        assert_eq!(a.1.len(), b.1.len());
        for (a, b) in a.1.iter().zip(&b.1) {
            assert_eq!(a.is_some(), b.is_some());
            if let (Some(a), Some(b)) = (a, b) {
                worst = worst.max(of(a, b));
            }
        }
        worst
    }

    /// Documents of one token, of several, and of more than a tile of queries.
    fn case(window: Option<usize>) -> Case {
        let mut case = Case::new(2, 12, (4, 2), 20, &[0, 90, 91, 91, 700]);
        case.shape.attention.sliding_window = window;
        case
    }

    #[test]
    fn in_f32_blocks_agree_with_the_naive_version() {
        for window in [None, Some(40)] {
            let (case, low_rank) = (case(window), low_rank());
            let reference = run(&case, &low_rank, DType::F32, false, false, |_| true);
            let kept = run(&case, &low_rank, DType::F32, false, true, |_| true);
            assert!(distance(&kept, &reference) < 1e-5, "{}", distance(&kept, &reference));
            let recomputed = run(&case, &low_rank, DType::F32, true, true, |_| true);
            assert!(recomputed == kept, "recomputed activations are the same to the bit");
        }
    }

    #[test]
    fn in_bf16_values_and_gradients_are_near_those_of_f32() {
        let (case, low_rank) = (case(Some(40)), low_rank());
        let exact = run(&case, &low_rank, DType::F32, false, true, |_| true);
        let rounded = run(&case, &low_rank, DType::BF16, true, true, |_| true);
        let apart = distance(&rounded, &exact);
        assert!((1e-4..6e-2).contains(&apart), "{apart}");
    }

    #[test]
    fn a_frozen_weight_has_no_gradient_and_trainable_ones_keep_theirs() {
        let (case, low_rank) = (case(None), low_rank());
        let whole = run(&case, &low_rank, DType::F32, true, true, |_| true);
        let trained = |i: usize| i >= case.tensors.len();
        for recompute in [true, false] {
            let alone = run(&case, &low_rank, DType::F32, recompute, true, trained);
            assert_eq!(alone.1.iter().filter(|gradient| gradient.is_some()).count(), 4);
            for (alone, whole) in alone.1.iter().zip(&whole.1) {
                assert!(alone.is_none() || alone == whole);
            }
        }
    }
}
