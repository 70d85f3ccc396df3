//! The trainable decoder model.

mod dtype;
mod inference;
mod lora;
mod store;
mod value_head;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use janus_infer::{ModelConfig, PerProjection};
use rand::Rng;
use serde_json::{Map, Value};

use crate::gradients::on_cpu;
use crate::ops::gradient::GradSink;
use crate::ops::storage::Values;
use crate::ops::{
    AttentionShape, BatchShape, DecoderWeights, LayerWeights, ProjectionWeights, RopeTable, decoder_into,
    embedding, linear_logprobs_into, segment_sum,
};
use crate::{Batch, BatchProblem, Error, Gradients, Result};

pub use dtype::DType;
pub use janus_infer::{RewardScale, VALUE_HEAD};
pub use lora::LoraConfig;

const EMBEDDING: &str = "model.embed_tokens.weight";
const FINAL_NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// A trainable Llama or Mistral decoder in f32 or bf16; every parameter is a candle [`Var`].
pub struct Decoder {
    config: ModelConfig,
    dtype: DType,
    /// Every weight, as the operations read it: tracked by candle if it is trainable.
    weights: BTreeMap<String, Tensor>,
    /// The trainable weights.
    parameters: BTreeMap<String, Var>,
    /// Where operations add the gradients of the parameters; `None`: gradients are returned to candle.
    sink: Option<GradSink>,
    device: Device,
    lora: Option<LoraConfig>,
    reward_scale: Option<RewardScale>,
    /// The keys of `config.json` that are not interpreted; they are saved with the model.
    other_config: Map<String, Value>,
    activation_checkpointing: bool,
    /// The key of the dropout masks of the LoRA adapters; `None`: no dropout.
    dropout: Option<u64>,
}

/// Log-probabilities of tokens of a batch.
#[derive(Debug, Clone)]
pub struct Logprobs {
    /// `[rows]`: natural logarithms, differentiable.
    pub values: Tensor,
    /// `[rows]`: for each row the index of its token in [`Batch::ids`], ascending.
    pub tokens: Vec<u32>,
}

impl Logprobs {
    /// Their sum over each document of the batch: `[documents]`; 0 for a document without any.
    ///
    /// # Errors
    /// [`Error::Batch`] if the tokens are not those of this batch; if candle fails.
    pub fn sum_by_document(&self, batch: &Batch) -> Result<Tensor> {
        batch.check_tokens(&self.tokens)?;
        Ok(segment_sum(&self.values, &batch.documents_of(&self.tokens), batch.documents())?)
    }

    /// Their mean over each document of the batch: `[documents]`; 0 for a document without any.
    ///
    /// # Errors
    /// As [`sum_by_document`](Self::sum_by_document).
    pub fn mean_by_document(&self, batch: &Batch) -> Result<Tensor> {
        batch.check_tokens(&self.tokens)?;
        let mut counts = vec![0.0f32; batch.documents()];
        batch.documents_of(&self.tokens).iter().for_each(|&document| counts[document as usize] += 1.0);
        let inverse: Vec<f32> = counts.iter().map(|&count| 1.0 / count.max(1.0)).collect();
        let inverse = Tensor::from_vec(inverse, batch.documents(), self.values.device())?;
        Ok((self.sum_by_document(batch)? * inverse)?)
    }

    /// The log-probabilities of a subset of [`tokens`](Self::tokens), in ascending order.
    ///
    /// # Errors
    /// [`Error::Batch`] for a token without a log-probability.
    pub fn select(&self, tokens: &[u32]) -> Result<Self> {
        let mut places = Vec::with_capacity(tokens.len());
        for token in tokens {
            match self.tokens.binary_search(token) {
                Ok(place) => places.push(place as u32),
                Err(_) => return Err(BatchProblem::NoLogprob { token: *token }.into()),
            }
        }
        let index = Tensor::new(places, self.values.device())?;
        Ok(Self { values: self.values.index_select(&index, 0)?, tokens: tokens.into() })
    }
}

impl Decoder {
    /// Fresh weights in f32: projections and embeddings from a normal distribution with the config's
    /// `initializer_range` as standard deviation, norms 1. Each parameter has its own random stream,
    /// named after it.
    ///
    /// # Errors
    /// If the config is invalid ([`ModelConfig::check`]), or the device cannot hold the weights.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let mut decoder = Self::empty(config, DType::F32, device);
        for (name, shape) in config.tensors() {
            let values = match shape[..] {
                [len] => vec![1.0; len],
                _ => normal(seed, &name, shape.iter().product(), config.initializer_range),
            };
            decoder.insert(&name, &Tensor::from_vec(values, shape, device)?)?;
        }
        Ok(decoder)
    }

    fn empty(config: &ModelConfig, dtype: DType, device: &Device) -> Self {
        Self {
            config: config.clone(),
            dtype,
            weights: BTreeMap::new(),
            parameters: BTreeMap::new(),
            sink: None,
            device: device.clone(),
            lora: None,
            reward_scale: None,
            other_config: Map::new(),
            activation_checkpointing: false,
            dropout: None,
        }
    }

    /// Adds a trainable weight, or replaces the weight with this name.
    fn insert(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let var = Var::from_tensor(&value.to_dtype(self.dtype.candle())?)?;
        self.weights.insert(name.into(), var.as_tensor().clone());
        self.parameters.insert(name.into(), var);
        Ok(())
    }

    /// A frozen copy with its own weights: a reference model that does not change while this decoder
    /// trains. It needs the memory of the weights a second time. [`detached`](Self::detached) needs no
    /// memory, but changes with this decoder.
    ///
    /// # Errors
    /// If the device cannot hold the weights.
    pub fn copy(&self) -> Result<Self> {
        let mut copy = self.detached()?;
        for weight in copy.weights.values_mut() {
            *weight = weight.copy()?.detach();
        }
        Ok(copy)
    }

    /// A view of this decoder without trainable weights, for forward passes without gradients: they keep
    /// nothing for a backward pass.
    ///
    /// The weights are shared with this decoder and change while it trains. For a reference model, use
    /// [`copy`](Self::copy) or load the model from its folder.
    ///
    /// # Errors
    /// If candle fails.
    pub fn detached(&self) -> Result<Self> {
        let weights = self.weights.iter().map(|(name, weight)| (name.clone(), weight.detach())).collect();
        let (lora, reward_scale, other_config) =
            (self.lora.clone(), self.reward_scale, self.other_config.clone());
        Ok(Self {
            weights,
            lora,
            reward_scale,
            other_config,
            ..Self::empty(&self.config, self.dtype, &self.device)
        })
    }

    /// This model with every weight converted to another dtype. Trainable weights stay trainable.
    ///
    /// # Errors
    /// If the device cannot hold the weights.
    pub fn to_dtype(mut self, dtype: DType) -> Result<Self> {
        if dtype != self.dtype {
            self.dtype = dtype;
            for (name, weight) in std::mem::take(&mut self.weights) {
                match self.parameters.remove(&name) {
                    Some(_) => self.insert(&name, &weight)?,
                    None => drop(self.weights.insert(name, weight.to_dtype(dtype.candle())?)),
                }
            }
        }
        Ok(self)
    }

    /// The first trainable weight of this decoder that shares its memory with a weight of `other`.
    pub(crate) fn trains_a_weight_of(&self, other: &Self) -> Option<&str> {
        let shared = |name: &&String| match (self.weights.get(*name), other.weights.get(*name)) {
            (Some(mine), Some(others)) => storage(mine) == storage(others),
            _ => false,
        };
        self.parameters.keys().find(shared).map(String::as_str)
    }

    /// The dtype of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// A hash of the architecture and of every weight's value.
    ///
    /// # Errors
    /// If candle fails.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = blake3::Hasher::new();
        hash.update(self.config.to_json().as_bytes());
        self.weights.iter().try_for_each(|(name, weight)| hash_weight(&mut hash, name, weight))?;
        Ok(hash.finalize().to_string())
    }

    /// A hash of the values of all frozen weights except those in `but`.
    ///
    /// # Errors
    /// If candle fails.
    pub(crate) fn frozen_fingerprint(&self, but: &[String]) -> Result<String> {
        let mut hash = blake3::Hasher::new();
        let mut frozen = self
            .weights
            .iter()
            .filter(|(name, _)| !self.parameters.contains_key(*name) && !but.contains(name));
        frozen.try_for_each(|(name, weight)| hash_weight(&mut hash, name, weight))?;
        Ok(hash.finalize().to_string())
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Turns activation checkpointing on or off. A forward pass then keeps only each layer's input, and
    /// the backward pass recomputes the rest: bitwise the same gradients with a third more work and a
    /// tenth of the activation memory.
    pub fn set_activation_checkpointing(&mut self, on: bool) {
        self.activation_checkpointing = on;
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Every weight by its Hugging Face name, in the order of the names.
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }

    /// Every trainable weight by its Hugging Face name, in the order of the names.
    pub fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    /// Hidden states after the final norm, in the weights' dtype: `[tokens, hidden]`.
    ///
    /// # Errors
    /// [`Error::Batch`] if the batch does not fit the model.
    pub fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let config = &self.config;
        batch.check(config.vocab_size)?;
        let shape = BatchShape {
            attention: AttentionShape::of(config),
            rope: RopeTable::new(
                config.head_dim,
                config.rope_theta,
                config.rope_scaling.as_ref(),
                &batch.cu_seqlens,
            ),
            cu_seqlens: batch.cu_seqlens.as_slice().into(),
            rms_norm_eps: config.rms_norm_eps,
            recompute: self.activation_checkpointing,
        };
        let weights = DecoderWeights {
            embed_tokens: self.weight(EMBEDDING).clone(),
            layers: (0..config.num_hidden_layers).map(|layer| self.layer(layer)).collect(),
            norm: self.weight(FINAL_NORM).clone(),
        };
        Ok(decoder_into(&batch.ids, &weights, &shape, self.sink.as_ref())?)
    }

    /// The weights of a layer.
    fn layer(&self, layer: usize) -> LayerWeights {
        let weight = |tail: &str| self.weight(&format!("model.layers.{layer}.{tail}.weight")).clone();
        LayerWeights {
            input_layernorm: weight("input_layernorm"),
            projections: PerProjection::from_fn(|projection| ProjectionWeights {
                weight: weight(projection.hf_name()),
                lora: self.low_rank(layer, projection),
            }),
            post_attention_layernorm: weight("post_attention_layernorm"),
        }
    }

    /// A view of this model whose operations add their gradients to `gradients` in the backward pass.
    /// The weights are shared.
    pub fn recording(&self, gradients: &Gradients) -> Self {
        Self {
            config: self.config.clone(),
            dtype: self.dtype,
            weights: self.weights.clone(),
            parameters: self.parameters.clone(),
            sink: Some(gradients.sink().clone()),
            device: self.device.clone(),
            lora: self.lora.clone(),
            reward_scale: self.reward_scale,
            other_config: self.other_config.clone(),
            activation_checkpointing: self.activation_checkpointing,
            dropout: self.dropout,
        }
    }

    /// Log-probabilities in f32 of the batch's supervised tokens, each given the tokens before it in its
    /// document.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden).
    pub fn logprobs(&self, batch: &Batch) -> Result<Logprobs> {
        self.logprobs_at(batch, batch.supervised())
    }

    /// Log-probabilities in f32 of the given tokens, each given the tokens before it in its document.
    /// Tokens are ascending indices in `Batch::ids`; none may be the first of its document.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden); [`Error::NoHead`] if the model has no language-model head. Both are
    /// checked before the forward pass.
    pub fn logprobs_at(&self, batch: &Batch, tokens: Vec<u32>) -> Result<Logprobs> {
        self.head()?;
        batch.check(self.config.vocab_size)?;
        batch.check_predicted(&tokens)?;
        self.logprobs_of(&self.hidden(batch)?, batch, tokens)
    }

    /// [`logprobs_at`](Self::logprobs_at) from given hidden states.
    pub(crate) fn logprobs_of(&self, hidden: &Tensor, batch: &Batch, tokens: Vec<u32>) -> Result<Logprobs> {
        let head = self.head()?;
        batch.check_predicted(&tokens)?;
        let targets: Vec<u32> = tokens.iter().map(|&i| batch.ids[i as usize]).collect();
        let rows: Vec<u32> = tokens.iter().map(|&i| i - 1).collect();
        Ok(Logprobs {
            values: linear_logprobs_into(hidden, head, &rows, &targets, self.sink.as_ref())?,
            tokens,
        })
    }

    /// The language-model head.
    pub(crate) fn head(&self) -> Result<&Tensor> {
        let name = if self.config.tie_word_embeddings { EMBEDDING } else { HEAD };
        self.weights.get(name).ok_or(Error::NoHead { name })
    }

    /// A weight that every model with this config has.
    fn weight(&self, name: &str) -> &Tensor {
        &self.weights[name]
    }
}

/// The address of a tensor's storage.
fn storage(tensor: &Tensor) -> *const candle_core::Storage {
    &raw const *tensor.storage_and_layout().0
}

/// Adds a weight's name and its values, in f32, to a hash.
fn hash_weight(hash: &mut blake3::Hasher, name: &str, weight: &Tensor) -> Result<()> {
    hash.update(name.as_bytes());
    let wide = on_cpu(weight)?.to_dtype(candle_core::DType::F32)?;
    let mut bytes = vec![0; 1 << 16];
    for values in Values::of(&wide)?.chunks(bytes.len() / 4) {
        let bytes = &mut bytes[..4 * values.len()];
        bytes
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(values)
            .for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        hash.update(bytes);
    }
    Ok(())
}

/// Normally distributed numbers by the Box-Muller transform, computed in f64.
fn normal(seed: u64, name: &str, len: usize, deviation: f64) -> Vec<f32> {
    let mut rng = janus_core::stream(seed, &format!("init {name}"));
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        // 1 - u is in (0, 1], so its logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * deviation;
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    values.truncate(len);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_weights_are_normal_and_depend_on_seed_and_name_only() {
        let values = normal(3, "a", 100_001, 0.02);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let square = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e5;
        assert!(
            mean.abs() < 3e-4 && (square.sqrt() - 0.02).abs() < 3e-4,
            "mean {mean}, deviation {}",
            square.sqrt()
        );
        let beyond_two = values.iter().filter(|x| x.abs() > 0.04).count() as f64 / 1e5;
        assert!((beyond_two - 0.0455).abs() < 0.003, "{beyond_two}");
        assert_eq!(normal(3, "a", 7, 0.02), values[..7]);
        assert_ne!(normal(3, "b", 7, 0.02), values[..7]);
        assert_ne!(normal(4, "a", 7, 0.02), values[..7]);
    }
}
