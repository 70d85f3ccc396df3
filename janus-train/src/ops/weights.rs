//! The inputs of a decoder: its weights, and the shape of the batch.
//!
//! The structs are generic over the type of a weight: a tensor, or a tensor with its gradient
//! accumulator.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor};
use janus_infer::PerProjection;

use super::product::product;
use super::{AttentionShape, Dropout, RopeTable};

/// The weights of a decoder without its head.
#[derive(Debug, Clone)]
pub struct DecoderWeights<T = Tensor> {
    /// The token embedding, `[vocab, hidden]`.
    pub embed_tokens: T,
    /// The layers, first to last.
    pub layers: Vec<LayerWeights<T>>,
    /// The final norm, `[hidden]`.
    pub norm: T,
}

/// The weights of a decoder layer.
#[derive(Debug, Clone)]
pub struct LayerWeights<T = Tensor> {
    /// The norm before the attention, `[hidden]`.
    pub input_layernorm: T,
    /// The projections, `[out, in]` each.
    pub projections: PerProjection<ProjectionWeights<T>>,
    /// The norm before the MLP, `[hidden]`.
    pub post_attention_layernorm: T,
}

/// The weights of a projection.
#[derive(Debug, Clone)]
pub struct ProjectionWeights<T = Tensor> {
    /// W, `[out, in]`.
    pub weight: T,
    /// Its LoRA adapter, if it has one.
    pub lora: Option<LowRank<T>>,
}

/// A LoRA adapter of a projection W `[out, in]` (Hu et al., arXiv 2106.09685, equation 3): the
/// projection computes with W + scale · B · A.
#[derive(Debug, Clone)]
pub struct LowRank<T = Tensor> {
    /// A, `[rank, in]`.
    pub a: T,
    /// B, `[out, rank]`.
    pub b: T,
    /// alpha / rank.
    pub scale: f64,
    /// Dropout of the input of A.
    pub dropout: Option<Dropout>,
}

impl<T> DecoderWeights<T> {
    /// Applies `f` to every weight.
    pub(crate) fn map<U>(&self, f: &dyn Fn(&T) -> U) -> DecoderWeights<U> {
        DecoderWeights {
            embed_tokens: f(&self.embed_tokens),
            layers: self.layers.iter().map(|layer| layer.map(f)).collect(),
            norm: f(&self.norm),
        }
    }

    /// Every weight, first to last.
    pub(crate) fn all(&self) -> Vec<&T> {
        let mut all = vec![&self.embed_tokens];
        all.extend(self.layers.iter().flat_map(LayerWeights::all));
        all.push(&self.norm);
        all
    }
}

impl<T> LayerWeights<T> {
    /// Applies `f` to every weight.
    pub(crate) fn map<U>(&self, f: &dyn Fn(&T) -> U) -> LayerWeights<U> {
        LayerWeights {
            input_layernorm: f(&self.input_layernorm),
            projections: PerProjection::from_fn(|projection| {
                let ProjectionWeights { weight, lora } = &self.projections[projection];
                let lora = lora.as_ref().map(|lora| LowRank {
                    a: f(&lora.a),
                    b: f(&lora.b),
                    scale: lora.scale,
                    dropout: lora.dropout,
                });
                ProjectionWeights { weight: f(weight), lora }
            }),
            post_attention_layernorm: f(&self.post_attention_layernorm),
        }
    }

    /// Every weight.
    pub(crate) fn all(&self) -> Vec<&T> {
        let mut all = vec![&self.input_layernorm, &self.post_attention_layernorm];
        for (_, ProjectionWeights { weight, lora }) in self.projections.iter() {
            all.push(weight);
            all.extend(lora.iter().flat_map(|lora| [&lora.a, &lora.b]));
        }
        all
    }

    /// Whether a LoRA adapter has dropout, so that it cannot be merged into its weight.
    pub(crate) fn has_dropout(&self) -> bool {
        self.projections.iter().any(|(_, of)| of.lora.as_ref().is_some_and(|lora| lora.dropout.is_some()))
    }
}

impl LowRank {
    /// The adapter's output for x `[tokens, in]`, which is added to that of the projection:
    /// scale · B · A · x, `[tokens, out]`.
    pub(super) fn of(
        &self,
        x: &Tensor,
        linear: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self.dropout {
            Some(dropout) => {
                linear(&linear(&dropout.mask(x)?, &self.a)?, &self.b)? * (self.scale * dropout.gain())
            }
            None => linear(&linear(x, &self.a)?, &self.b)? * self.scale,
        }
    }

    /// The projection's weight merged with the adapter, without dropout. It is computed in f32
    /// and returned in the weight's dtype.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn merged(&self, weight: &Tensor) -> Result<Tensor> {
        let f32 = |tensor: &Tensor| tensor.to_dtype(DType::F32);
        (f32(weight)? + (product(&f32(&self.b)?, &f32(&self.a)?)? * self.scale)?)?.to_dtype(weight.dtype())
    }
}

/// The parameters of a layer that are not weights: the shape of the model and of the batch.
#[derive(Clone)]
pub struct BatchShape {
    /// Heads and sliding window.
    pub attention: AttentionShape,
    /// Rotary angles of the batch's tokens.
    pub rope: RopeTable,
    /// Boundaries of the batch's documents.
    pub cu_seqlens: Arc<[u32]>,
    /// Epsilon of both norms.
    pub rms_norm_eps: f64,
    /// Save only each layer's input for the backward pass, and recompute the rest (Chen et al., arXiv
    /// 1604.06174): a third more work for a tenth of the memory.
    pub recompute: bool,
}

/// The tokens of each document, given the boundaries `cu_seqlens`.
pub(crate) fn documents(cu_seqlens: &[u32]) -> impl Iterator<Item = Range<usize>> {
    cu_seqlens.windows(2).map(|ends| ends[0] as usize..ends[1] as usize)
}
