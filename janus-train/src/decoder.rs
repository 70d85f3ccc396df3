//! The model that learns.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use janus_infer::ModelConfig;
use rand::Rng;

use crate::file::{Tensors, write_tensors, write_whole};
use crate::ops::{AttentionShape, BatchShape, DecoderWeights, LayerWeights, RopeTable, decoder, linear_logprobs};
use crate::{Batch, Result};

const EMBEDDING: &str = "model.embed_tokens.weight";
const FINAL_NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// A trainable Llama or Mistral decoder; every parameter is a candle [`Var`] in f32.
pub struct Decoder {
    config: ModelConfig,
    parameters: BTreeMap<String, Var>,
    device: Device,
}

/// Log-probabilities of the supervised tokens of a batch.
#[derive(Debug, Clone)]
pub struct Logprobs {
    /// `[rows]`: natural logarithms, differentiable.
    pub values: Tensor,
    /// `[rows]`: the index in `Batch::ids` of the token that each row is the log-probability of; rising.
    pub tokens: Vec<u32>,
}

impl Decoder {
    /// Fresh weights: projections and embeddings from a normal distribution with the config's
    /// `initializer_range`, norms 1. Each parameter has a random stream of its own name.
    ///
    /// # Errors
    /// If the device cannot hold the weights.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        Self::build(config, device, |name, shape| {
            let values = match shape {
                [len] => vec![1.0; *len],
                _ => normal(seed, name, shape.iter().product(), config.initializer_range),
            };
            Ok(Tensor::from_vec(values, shape, device)?)
        })
    }

    /// Reads `config.json` and `model.safetensors` of a folder; weights of other float types become f32.
    ///
    /// # Errors
    /// If a file is missing or unreadable, or lacks a tensor of the config's shape.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let config = ModelConfig::read(folder.join("config.json"))?;
        let path = folder.join("model.safetensors");
        let mut tensors = Tensors::read(&path, device)?;
        Self::build(&config, device, |name, shape| tensors.take(name, shape))
    }

    /// Writes `config.json` and `model.safetensors` into a folder, which is made if need be, each whole or not at all.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|source| crate::Error::Io { path: folder.into(), source })?;
        self.save_weights(&folder.join("model.safetensors"))?;
        write_whole(&folder.join("config.json"), self.config.to_json().as_bytes())
    }

    pub(crate) fn save_weights(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::with_capacity(self.parameters.len());
        for (name, var) in &self.parameters {
            tensors.push((name.clone(), var.dims(), var.flatten_all()?.to_vec1::<f32>()?));
        }
        write_tensors(path, tensors)
    }

    /// Sets every parameter from a file that [`save`](Self::save) wrote.
    pub(crate) fn restore_weights(&self, path: &Path) -> Result<()> {
        let mut tensors = Tensors::read(path, &self.device)?;
        for (name, var) in &self.parameters {
            var.set(&tensors.take(name, var.dims())?)?;
        }
        Ok(())
    }

    fn build(config: &ModelConfig, device: &Device, mut value: impl FnMut(&str, &[usize]) -> Result<Tensor>) -> Result<Self> {
        let mut parameters = BTreeMap::new();
        for (name, shape) in config.tensors() {
            let var = Var::from_tensor(&value(&name, &shape)?)?;
            parameters.insert(name, var);
        }
        Ok(Self { config: config.clone(), parameters, device: device.clone() })
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Every parameter by its Hugging Face name, in the order of the names.
    pub fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    /// Hidden states after the final norm: `[tokens, hidden]`.
    ///
    /// # Errors
    /// [`Error::Batch`](crate::Error::Batch) if the batch does not fit the model.
    pub fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let config = &self.config;
        batch.check(config.vocab_size)?;
        let shape = BatchShape {
            attention: AttentionShape {
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
                sliding_window: config.sliding_window,
            },
            rope: RopeTable::new(config.head_dim, config.rope_theta, &batch.cu_seqlens),
            cu_seqlens: batch.cu_seqlens.as_slice().into(),
            rms_norm_eps: config.rms_norm_eps,
        };
        let layers: Vec<LayerWeights<'_>> = (0..config.num_hidden_layers)
            .map(|layer| {
                let weight = |tail: &str| self.parameter(&format!("model.layers.{layer}.{tail}.weight"));
                LayerWeights {
                    input_layernorm: weight("input_layernorm"),
                    q_proj: weight("self_attn.q_proj"),
                    k_proj: weight("self_attn.k_proj"),
                    v_proj: weight("self_attn.v_proj"),
                    o_proj: weight("self_attn.o_proj"),
                    post_attention_layernorm: weight("post_attention_layernorm"),
                    gate_proj: weight("mlp.gate_proj"),
                    up_proj: weight("mlp.up_proj"),
                    down_proj: weight("mlp.down_proj"),
                }
            })
            .collect();
        let weights = DecoderWeights { embed_tokens: self.parameter(EMBEDDING), layers: &layers, norm: self.parameter(FINAL_NORM) };
        Ok(decoder(&batch.ids, weights, &shape)?)
    }

    /// Log-probabilities of the batch's supervised tokens, each given the tokens before it in its document.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden).
    pub fn logprobs(&self, batch: &Batch) -> Result<Logprobs> {
        let hidden = self.hidden(batch)?;
        let tokens = batch.supervised();
        let targets: Vec<u32> = tokens.iter().map(|&i| batch.ids[i as usize]).collect();
        let rows: Vec<u32> = tokens.iter().map(|&i| i - 1).collect();
        let head = if self.config.tie_word_embeddings { EMBEDDING } else { HEAD };
        Ok(Logprobs { values: linear_logprobs(&hidden, self.parameter(head), &rows, &targets)?, tokens })
    }

    /// The parameter of a name that the config implies.
    fn parameter(&self, name: &str) -> &Tensor {
        self.parameters[name].as_tensor()
    }
}

/// Normal numbers by the Box-Muller transform, computed in f64.
fn normal(seed: u64, name: &str, len: usize, deviation: f64) -> Vec<f32> {
    let mut rng = janus_core::stream(seed, &format!("init {name}"));
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        // 1 - u lies in (0, 1]: its logarithm is finite.
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
        assert!(mean.abs() < 3e-4 && (square.sqrt() - 0.02).abs() < 3e-4, "mean {mean}, deviation {}", square.sqrt());
        let beyond_two = values.iter().filter(|x| x.abs() > 0.04).count() as f64 / 1e5;
        assert!((beyond_two - 0.0455).abs() < 0.003, "{beyond_two}");
        assert_eq!(normal(3, "a", 7, 0.02), values[..7]);
        assert_ne!(normal(3, "b", 7, 0.02), values[..7]);
        assert_ne!(normal(4, "a", 7, 0.02), values[..7]);
    }
}
