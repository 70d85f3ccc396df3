//! Embedding, all layers and the final norm as one node of candle's graph.
//!
//! candle adds every gradient to a tensor of zeros that it makes for the purpose, on a pool of spinning threads.
//! For a `[tokens, hidden]` gradient between two layers that costs as much as the layer's element-wise
//! work; inside one node there are no such gradients.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::layer::{self, BatchShape, Kept, Layer, LayerWeights};
use super::storage::{Values, output};
use super::tie::{self, tie};
use super::{ROWS_PER_TASK, embedding, rms_norm};
use crate::scratch::Scratch;

/// The weights of a decoder without its head.
#[derive(Clone, Copy)]
pub struct DecoderWeights<'a> {
    /// The table of token vectors, `[vocab, hidden]`.
    pub embed_tokens: &'a Tensor,
    /// The layers, first to last.
    pub layers: &'a [LayerWeights<'a>],
    /// The final norm, `[hidden]`.
    pub norm: &'a Tensor,
}

/// Hidden states of the packed tokens `ids` after the final norm: `[tokens, hidden]`.
///
/// # Errors
/// If shapes do not fit or an id is not below vocab.
pub fn decoder(ids: &[u32], weights: DecoderWeights<'_>, shape: &BatchShape) -> Result<Tensor> {
    let (vocab, hidden) = weights.embed_tokens.dims2()?;
    let tokens = shape.rope.tokens();
    if ids.len() != tokens || shape.cu_seqlens.last() != Some(&(tokens as u32)) || shape.rope.head_dim() != shape.attention.head_dim {
        bail!("decoder: {} ids, a rope table for {tokens} tokens, cu_seqlens {:?}", ids.len(), shape.cu_seqlens);
    }
    if weights.norm.dims() != [hidden] || ids.iter().any(|&id| id as usize >= vocab) {
        bail!("decoder: the norm has shape {:?}, expected [{hidden}], and ids must be below {vocab}", weights.norm.dims());
    }
    if !weights.embed_tokens.device().is_cpu() {
        return naive(ids, weights, shape);
    }
    let mut all = vec![weights.embed_tokens];
    all.extend(weights.layers.iter().flat_map(LayerWeights::all));
    all.push(weights.norm);
    let layers = weights.layers.iter().map(|weights| Layer::new(hidden, weights, shape)).collect::<Result<_>>()?;
    let mut x = Scratch::new(tokens * hidden);
    embedding::gather(&Values::of(weights.embed_tokens)?, ids, hidden, &mut x);
    let (knot, gradients) = tie(&all)?;
    let op = Decoder {
        ids: ids.into(),
        layers,
        norm: Values::of(weights.norm)?.to_vec(),
        eps: shape.rms_norm_eps as f32,
        state: Mutex::new(State { x: Some(x), kept: Vec::new() }),
        tracked: knot.track_op(),
        gradients,
        shapes: all.iter().map(|weight| weight.shape().clone()).collect(),
    };
    knot.apply_op1(op)
}

/// [`decoder`] in plain candle ops.
pub fn naive(ids: &[u32], weights: DecoderWeights<'_>, shape: &BatchShape) -> Result<Tensor> {
    let mut x = embedding::naive(weights.embed_tokens, ids)?;
    for weights in weights.layers {
        x = layer::naive(&x, *weights, shape)?;
    }
    rms_norm::naive(&x, weights.norm, shape.rms_norm_eps)
}

struct Decoder {
    ids: Arc<[u32]>,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    eps: f32,
    state: Mutex<State>,
    tracked: bool,
    gradients: tie::Gradients,
    /// Of all weights in their order.
    shapes: Vec<Shape>,
}

struct State {
    /// Before the forward pass the embedded tokens, after it the last layer's result: `[tokens, hidden]`.
    x: Option<Scratch>,
    /// Of each layer, after a forward pass that is tracked.
    kept: Vec<Kept>,
}

impl CustomOp1 for Decoder {
    fn name(&self) -> &'static str {
        "decoder"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut x) = state.x.take() else { bail!("decoder: forward ran already") };
        for layer in &self.layers {
            let (y, kept) = layer.forward(x);
            x = y;
            if self.tracked {
                state.kept.push(kept);
            }
        }
        let hidden = self.norm.len();
        let mut y = vec![0.0; x.len()];
        let rows = y.par_chunks_mut(ROWS_PER_TASK * hidden).zip(x.par_chunks(ROWS_PER_TASK * hidden));
        rows.for_each(|(y, x)| rms_norm::forward(x, &self.norm, self.eps, y));
        state.x = Some(x);
        output(y, (self.ids.len(), hidden))
    }

    fn bwd(&self, knot: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(x) = &state.x else { bail!("decoder: backward without a forward") };
        let hidden = self.norm.len();
        let dy = dy.contiguous()?;
        let dy = Values::of(&dy)?;
        let mut dx = Scratch::new(x.len());
        let dnorm: Vec<Vec<f32>> = dx
            .par_chunks_mut(ROWS_PER_TASK * hidden)
            .zip(x.par_chunks(ROWS_PER_TASK * hidden).zip(dy.par_chunks(ROWS_PER_TASK * hidden)))
            .map(|(dx, (x, dy))| {
                let mut dnorm = vec![0.0; hidden];
                dx.fill(0.0);
                rms_norm::backward(x, &self.norm, self.eps, dy, dx, &mut dnorm);
                dnorm
            })
            .collect();

        // Collected last to first.
        let mut dweights = vec![rms_norm::sum_in_order(&dnorm, hidden)];
        for (layer, kept) in self.layers.iter().zip(&state.kept).rev() {
            let (below, of_layer) = layer.backward(&dx, kept);
            dx = below;
            dweights.extend(of_layer.into_iter().rev());
        }
        let mut dembed = vec![0.0; self.shapes[0].elem_count()];
        embedding::scatter_add(&dx, &self.ids, hidden, &mut dembed);
        dweights.push(dembed);
        let dweights = dweights.into_iter().rev().zip(&self.shapes);
        self.gradients.set(dweights.map(|(dw, shape)| Tensor::from_vec(dw, shape, knot.device())).collect::<Result<_>>()?);
        Ok(Some(knot.zeros_like()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};
    use crate::ops::{AttentionShape, RopeTable};

    struct Case {
        tensors: Vec<Tensor>,
        ids: Vec<u32>,
        shape: BatchShape,
    }

    const HEAD_DIM: usize = 4;
    const VOCAB: usize = 11;

    impl Case {
        fn new(layers: usize, hidden: usize, (heads, kv_heads): (usize, usize), ffn: usize, cu_seqlens: &[u32]) -> Self {
            let (q, kv) = (heads * HEAD_DIM, kv_heads * HEAD_DIM);
            let layer: [&[usize]; 9] = [
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
            let (norm, embedding) = ([hidden], [VOCAB, hidden]);
            let mut shapes: Vec<&[usize]> = vec![&norm, &embedding];
            (0..layers).for_each(|_| shapes.extend(layer));
            let attention = AttentionShape { heads, kv_heads, head_dim: HEAD_DIM, sliding_window: Some(40) };
            let rope = RopeTable::new(HEAD_DIM, 100.0, cu_seqlens);
            Self {
                tensors: shapes.iter().zip(1..).map(|(shape, seed)| random(shape, seed)).collect(),
                ids: (0..*cu_seqlens.last().unwrap()).map(|i| (i * 7 + i * i) % VOCAB as u32).collect(),
                shape: BatchShape { attention, rope, cu_seqlens: cu_seqlens.into(), rms_norm_eps: 1e-5 },
            }
        }

        fn inputs(&self) -> Vec<&Tensor> {
            self.tensors.iter().collect()
        }

        fn run(&self, t: &[Tensor], op: impl Fn(&[u32], DecoderWeights<'_>, &BatchShape) -> Result<Tensor>) -> Result<Tensor> {
            let layers: Vec<LayerWeights<'_>> = t[2..]
                .chunks_exact(9)
                .map(|t| LayerWeights {
                    input_layernorm: &t[0],
                    q_proj: &t[1],
                    k_proj: &t[2],
                    v_proj: &t[3],
                    o_proj: &t[4],
                    post_attention_layernorm: &t[5],
                    gate_proj: &t[6],
                    up_proj: &t[7],
                    down_proj: &t[8],
                })
                .collect();
            op(&self.ids, DecoderWeights { embed_tokens: &t[1], layers: &layers, norm: &t[0] }, &self.shape)
        }
    }

    #[test]
    fn agrees_with_its_twin_for_odd_and_even_numbers_of_layers() {
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
    fn backward_twice_gives_the_same_gradients() {
        let case = Case::new(2, 12, (4, 2), 20, &[0, 9]);
        let vars: Vec<Tensor> = case.tensors.iter().map(|t| candle_core::Var::from_tensor(t).unwrap().as_tensor().clone()).collect();
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
        let gradients = case.run(&tensors, decoder).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&tensors[5]).is_some() && gradients.get(&tensors[6]).is_none());
    }
}
