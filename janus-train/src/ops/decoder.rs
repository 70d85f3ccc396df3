//! Embedding, all layers and the final norm as one node of candle's graph.
//!
//! candle adds every gradient to a new tensor of zeros, on a pool of spinning threads. For a gradient
//! between two layers, `[tokens, hidden]`, this takes as long as the layer's element-wise work. Inside
//! one node there are no such gradients.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use janus_infer::kernels::norm;
use rayon::prelude::*;

use super::dispatch::is_fused;
use super::gradient::{GradSink, Weight};
use super::join_inputs::join_inputs;
use super::layer::{self, Layer, SavedActivations};
use super::storage::{Values, output};
use super::weights::{BatchShape, DecoderWeights, LayerWeights};
use super::{ROWS_PER_TASK, blocks, embedding, rms_norm};
use crate::scratch::Scratch;

/// Hidden states of the packed tokens `ids` after the final norm: `[tokens, hidden]`.
///
/// # Errors
/// If shapes do not fit, or an id is not below vocab.
pub fn decoder(ids: &[u32], weights: &DecoderWeights, shape: &BatchShape) -> Result<Tensor> {
    decoder_into(ids, weights, shape, None)
}

/// [`decoder`]; gradients of weights in `sink` are added there and not returned to candle.
pub(crate) fn decoder_into(
    ids: &[u32],
    weights: &DecoderWeights,
    shape: &BatchShape,
    sink: Option<&GradSink>,
) -> Result<Tensor> {
    let (vocab, hidden) = weights.embed_tokens.dims2()?;
    let tokens = shape.rope.tokens();
    if ids.len() != tokens
        || shape.cu_seqlens.last() != Some(&(tokens as u32))
        || shape.rope.head_dim() != shape.attention.head_dim
    {
        bail!(
            "decoder: {} ids, a rope table for {tokens} tokens, cu_seqlens {:?}",
            ids.len(),
            shape.cu_seqlens
        );
    }
    if weights.norm.dims() != [hidden] || ids.iter().any(|&id| id as usize >= vocab) {
        bail!(
            "decoder: the norm has shape {:?}, expected [{hidden}], and ids must be below {vocab}",
            weights.norm.dims()
        );
    }
    let tracked = weights.map(&|tensor| Weight::new(tensor, sink));
    // The fused code below is for f32 on the CPU, and merges LoRA adapters into their weights.
    if !is_fused(&weights.embed_tokens) || weights.layers.iter().any(LayerWeights::has_dropout) {
        return match sink {
            // Blocks return no gradients of weights to candle.
            Some(_) if !tracked.all().into_iter().any(Weight::for_candle) => {
                blocks::decoder(ids, &tracked, shape)
            }
            _ => naive(ids, weights, shape),
        };
    }
    let joined = join_inputs(&tracked.all())?;
    let DecoderWeights { embed_tokens, layers, norm } = tracked;
    let mut x = Scratch::new(tokens * hidden);
    embedding::gather(&Values::of(&embed_tokens.tensor)?, ids, hidden, &mut x);
    let op = Decoder {
        ids: ids.into(),
        embed_tokens,
        layers: layers.into_iter().map(|layer| Layer::new(hidden, layer, shape)).collect::<Result<_>>()?,
        norm,
        eps: shape.rms_norm_eps as f32,
        recompute: shape.recompute,
        state: Mutex::new(State { x: Some(x), saved: Vec::new() }),
        tracked: joined.track_op(),
    };
    joined.apply_op1(op)
}

/// [`decoder`] in plain candle ops.
pub fn naive(ids: &[u32], weights: &DecoderWeights, shape: &BatchShape) -> Result<Tensor> {
    let mut x = embedding::naive(&weights.embed_tokens, ids)?;
    for weights in &weights.layers {
        x = layer::naive(&x, weights, shape)?;
    }
    rms_norm::naive(&x, &weights.norm, shape.rms_norm_eps)
}

struct Decoder {
    ids: Arc<[u32]>,
    embed_tokens: Weight,
    layers: Vec<Layer>,
    norm: Weight,
    eps: f32,
    recompute: bool,
    state: Mutex<State>,
    tracked: bool,
}

struct State {
    /// `[tokens, hidden]`: the embedded tokens before the forward pass, the last layer's output after
    /// it.
    x: Option<Scratch>,
    /// For each layer, after a tracked forward pass.
    saved: Vec<Saved>,
}

/// What a layer keeps for the backward pass.
enum Saved {
    Everything(SavedActivations),
    /// Its input, from which the rest is recomputed.
    Input(Scratch),
}

impl CustomOp1 for Decoder {
    fn name(&self) -> &'static str {
        "decoder"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut x) = state.x.take() else { bail!("decoder: forward ran already") };
        for layer in &self.layers {
            let (y, saved) = layer.forward(x)?;
            x = y;
            if self.tracked {
                state.saved.push(if self.recompute {
                    Saved::Input(saved.x)
                } else {
                    Saved::Everything(saved)
                });
            }
        }
        let norm = &*Values::of(&self.norm.tensor)?;
        let hidden = norm.len();
        let mut y = vec![0.0; x.len()];
        let rows = y.par_chunks_mut(ROWS_PER_TASK * hidden).zip(x.par_chunks(ROWS_PER_TASK * hidden));
        rows.for_each(|(y, x)| norm::rms_norm(x, norm, self.eps, y));
        state.x = Some(x);
        output(y, (self.ids.len(), hidden))
    }

    fn bwd(&self, joined: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { x: Some(x), saved: all_saved } = &mut *state else {
            bail!("decoder: backward without a forward")
        };
        let norm = &*Values::of(&self.norm.tensor)?;
        let hidden = norm.len();
        let dy = dy.contiguous()?;
        let dy = Values::of(&dy)?;
        let mut dx = Scratch::new(x.len());
        let dnorm: Vec<Vec<f32>> = dx
            .par_chunks_mut(ROWS_PER_TASK * hidden)
            .zip(x.par_chunks(ROWS_PER_TASK * hidden).zip(dy.par_chunks(ROWS_PER_TASK * hidden)))
            .map(|(dx, (x, dy))| {
                let mut dnorm = vec![0.0; hidden];
                dx.fill(0.0);
                rms_norm::backward(x, norm, self.eps, dy, dx, &mut dnorm);
                dnorm
            })
            .collect();

        if let Some(gradient) = &self.norm.gradient {
            gradient.add_vector(&rms_norm::sum_in_order(&dnorm, hidden))?;
        }
        for (layer, saved) in self.layers.iter().zip(all_saved).rev() {
            dx = match saved {
                Saved::Everything(saved) => layer.backward(&dx, saved)?,
                Saved::Input(x) => {
                    let (_, recomputed) = layer.forward(std::mem::replace(x, Scratch::new(0)))?;
                    let below = layer.backward(&dx, &recomputed)?;
                    *x = recomputed.x;
                    below
                }
            };
        }
        if let Some(gradient) = &self.embed_tokens.gradient {
            // The buffer is zero at first, so adding is correct in both cases.
            let add = |sums: &mut [f32], _| embedding::scatter_add(&dx, &self.ids, hidden, sums);
            gradient.add(self.embed_tokens.tensor.shape(), add)?;
        }
        Ok(Some(joined.zeros_like()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use janus_infer::Projection;

    use crate::ops::gradient::GradAccumulator;
    use crate::ops::testing::{Case, assert_gradients, assert_same, random};
    use crate::ops::{Dropout, LowRank};

    #[test]
    fn agrees_with_the_naive_version_for_odd_and_even_numbers_of_layers() {
        for layers in [1, 2] {
            let case = Case::new(layers, 12, (4, 2), 20, &[0, 90, 91, 600]);
            assert_same(&case.inputs(), |t| case.run(t, decoder), |t| case.run(t, naive), 1e-3);
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let case = Case::new(2, 6, (2, 1), 5, &[0, 3, 5]);
        assert_gradients(&case.inputs(), |t| case.run(t, decoder));
    }

    #[test]
    fn recomputed_activations_are_the_same_to_the_bit() {
        let keeping = Case::new(3, 12, (4, 2), 20, &[0, 90, 91, 600]);
        let mut recomputing = Case::new(3, 12, (4, 2), 20, &[0, 90, 91, 600]);
        recomputing.shape.recompute = true;
        assert_same(&keeping.inputs(), |t| keeping.run(t, decoder), |t| recomputing.run(t, decoder), 0.0);
    }

    /// The case with LoRA adapters for the query and the down projection, which follow the weights in
    /// `t`.
    fn updated(
        case: &Case,
        t: &[Tensor],
        op: impl Fn(&[u32], &DecoderWeights, &BatchShape) -> Result<Tensor>,
    ) -> Result<Tensor> {
        dropped(case, t, 0.0, op)
    }

    /// The same with dropout if the rate is above 0.
    fn dropped(
        case: &Case,
        t: &[Tensor],
        rate: f64,
        op: impl Fn(&[u32], &DecoderWeights, &BatchShape) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let dropout = |i: usize| (rate > 0.0).then_some(Dropout { rate, key: i as u64 });
        let low_rank = |i: usize| {
            Some(LowRank { a: t[i].clone(), b: t[i + 1].clone(), scale: 0.5, dropout: dropout(i) })
        };
        case.run(&t[..11], |ids, weights, shape| {
            let mut weights = weights.clone();
            weights.layers[0].projections[Projection::Q].lora = low_rank(11);
            weights.layers[0].projections[Projection::Down].lora = low_rank(13);
            op(ids, &weights, shape)
        })
    }

    #[test]
    fn lora_adapters_agree_with_the_naive_version_and_with_finite_differences() {
        let case = Case::new(1, 12, (4, 2), 20, &[0, 90, 600]);
        let low_rank =
            [random(&[3, 12], 31), random(&[16, 3], 32), random(&[3, 20], 33), random(&[12, 3], 34)];
        let inputs: Vec<&Tensor> = case.tensors.iter().chain(&low_rank).collect();
        assert_same(&inputs, |t| updated(&case, t, decoder), |t| updated(&case, t, naive), 1e-3);
        let case = Case::new(1, 6, (2, 1), 5, &[0, 3, 5]);
        let low_rank = [random(&[2, 6], 31), random(&[8, 2], 32), random(&[2, 5], 33), random(&[6, 2], 34)];
        assert_gradients(&case.tensors.iter().chain(&low_rank).collect::<Vec<_>>(), |t| {
            updated(&case, t, decoder)
        });
    }

    #[test]
    fn dropout_of_lora_adapters_agrees_with_the_naive_version_and_with_finite_differences() {
        let case = Case::new(1, 12, (4, 2), 20, &[0, 90, 600]);
        let low_rank =
            [random(&[3, 12], 31), random(&[16, 3], 32), random(&[3, 20], 33), random(&[12, 3], 34)];
        let tensors: Vec<Tensor> = case.tensors.iter().chain(&low_rank).map(|t| t.copy().unwrap()).collect();
        let vars: Vec<Tensor> =
            tensors.iter().map(|t| candle_core::Var::from_tensor(t).unwrap().into_inner()).collect();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let close = |a: &Tensor, b: &Tensor| {
            let worst = flat(a).iter().zip(flat(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{worst:e}");
        };
        let reference = dropped(&case, &vars, 0.4, naive).unwrap();
        let cotangent = random(reference.dims(), 99);
        let expected = (&reference * &cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        // As in training: gradients go to a sink.
        let gradients: Vec<GradAccumulator> = vars.iter().map(|_| GradAccumulator::default()).collect();
        let sink = GradSink::new(vars.iter().zip(gradients.iter().cloned()));
        let y =
            dropped(&case, &vars, 0.4, |ids, weights, shape| decoder_into(ids, weights, shape, Some(&sink)))
                .unwrap();
        close(&y, &reference);
        assert!(flat(&y) != flat(&updated(&case, &vars, naive).unwrap()), "something is dropped");
        drop((&y * &cotangent).unwrap().sum_all().unwrap().backward().unwrap());
        for (var, gradient) in vars.iter().zip(gradients) {
            close(&gradient.sum().unwrap(), expected.get(var).unwrap());
        }
        let case = Case::new(1, 6, (2, 1), 5, &[0, 3, 5]);
        let low_rank = [random(&[2, 6], 31), random(&[8, 2], 32), random(&[2, 5], 33), random(&[6, 2], 34)];
        assert_gradients(&case.tensors.iter().chain(&low_rank).collect::<Vec<_>>(), |t| {
            dropped(&case, t, 0.4, decoder)
        });
    }

    #[test]
    fn backward_twice_gives_the_same_gradients() {
        let case = Case::new(2, 12, (4, 2), 20, &[0, 9]);
        let vars: Vec<Tensor> = case
            .tensors
            .iter()
            .map(|t| candle_core::Var::from_tensor(t).unwrap().as_tensor().clone())
            .collect();
        let loss = case.run(&vars, decoder).unwrap().sqr().unwrap().sum_all().unwrap();
        let (first, second) = (loss.backward().unwrap(), loss.backward().unwrap());
        for var in &vars {
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat(first.get(var).unwrap()), flat(second.get(var).unwrap()));
        }
    }

    #[test]
    fn frozen_weights_are_left_out_and_nothing_is_kept_without_a_variable() {
        let case = Case::new(1, 12, (4, 2), 20, &[0, 9]);
        let mut tensors = case.tensors.clone();
        assert!(!case.run(&tensors, decoder).unwrap().track_op());
        let var = candle_core::Var::from_tensor(&tensors[5]).unwrap();
        tensors[5] = var.as_tensor().clone();
        let gradients =
            case.run(&tensors, decoder).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&tensors[5]).is_some() && gradients.get(&tensors[6]).is_none());
    }
}
