//! A model and its forward pass with a KV cache, on the CPU or on a device.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};

use crate::backend::{CpuDecoder, DeviceDecoder, Source};
use crate::batch::SequenceInput;
use crate::files::Matrix;
use crate::kv::{BlockStore, KvCache};
use crate::{Error, ModelConfig, ModelFolder, Result, Weights};

/// A Llama or Mistral model, ready to run.
///
/// On the CPU arithmetic is `f32` and weights stay in memory in the type of their file. On a device
/// weights are candle tensors of the file's type (`bf16`, `f16` or `f32`; quantised ones become `f16`)
/// and matrix products are computed in that type. The residual stream, norms, rotary embeddings and
/// softmax are `f32`.
pub struct Model {
    config: Arc<ModelConfig>,
    backend: Backend,
    /// Rows of the head: the vocabulary, or 1 for a value head.
    outputs: usize,
    /// The memory of its KV caches.
    blocks: Arc<BlockStore>,
}

enum Backend {
    Cpu(CpuDecoder),
    Device(DeviceDecoder),
}

impl Model {
    /// Loads a folder with `config.json` and safetensors, or a `.gguf` file.
    ///
    /// # Errors
    /// [`Error::Device`] for a device that this crate was not built for; [`Error::Candle`] if the device
    /// has too little memory; otherwise what is wrong with the files.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::of_folder(&ModelFolder::new(path.as_ref()), device)
    }

    pub(crate) fn of_folder(folder: &ModelFolder, device: &Device) -> Result<Self> {
        check_device(device)?;
        let (weights, config) = (folder.weights()?, folder.config()?);
        weights.check_all_used(&config)?;
        Self::of_weights(config.model, None, &weights, device)
    }

    /// Builds a model on the CPU from weights by their names and shapes ([`ModelConfig::tensors`]),
    /// row-major, in `f32`.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] for a config that describes no valid model; those of `weight`.
    pub fn from_weights(
        config: ModelConfig,
        weight: impl Fn(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Self::on_cpu(config, None, &Source::in_f32(&weight))
    }

    /// Builds a model from a checkpoint's weights. A `value_head`, `[1, hidden]`, replaces the
    /// language-model head: a row of logits is then one number.
    pub(crate) fn of_weights(
        config: ModelConfig,
        value_head: Option<&[f32]>,
        weights: &Weights,
        device: &Device,
    ) -> Result<Self> {
        check_device(device)?;
        if device.is_cpu() {
            return Self::on_cpu(config, value_head, &Source::of(weights));
        }
        let source = Source::of(weights);
        let dtype = DeviceDecoder::dtype(&config, &source)?;
        Self::on_device(config, value_head, &source, device, dtype)
    }

    fn on_cpu(config: ModelConfig, value_head: Option<&[f32]>, source: &Source<'_, '_>) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let head = value_head.map(|head| Matrix::in_f32(head, 1, config.hidden_size));
        let outputs = head.as_ref().map_or(config.vocab_size, |head| head.rows);
        let backend = Backend::Cpu(CpuDecoder::build(&config, head, source)?);
        Ok(Self { backend, outputs, blocks: Arc::new(BlockStore::on_host(&config)), config })
    }

    /// Builds a model that runs through candle, on any device. Tests run it on `Device::Cpu` and compare
    /// it with the CPU backend.
    pub(crate) fn on_device(
        config: ModelConfig,
        value_head: Option<&[f32]>,
        source: &Source<'_, '_>,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let outputs = if value_head.is_some() { 1 } else { config.vocab_size };
        let decoder = DeviceDecoder::build(&config, value_head, source, device, dtype)?;
        let blocks = Arc::clone(decoder.blocks());
        Ok(Self { backend: Backend::Device(decoder), outputs, blocks, config })
    }

    /// The model's sizes and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty cache for a new sequence.
    pub fn cache(&self) -> KvCache {
        KvCache::new(&self.blocks)
    }

    /// The blocks of its caches.
    pub(crate) fn blocks(&self) -> &Arc<BlockStore> {
        &self.blocks
    }

    /// Runs the new tokens of any number of sequences, appends their keys and values to the caches, and
    /// replaces the content of `logits` by the logits, `[rows, vocab]` in the order of `inputs`.
    ///
    /// On the CPU a sequence's logits are bit-identical whatever else is in the batch, and however its
    /// tokens are split into calls. On a device only the same calls give the same bits: in another batch
    /// rounding may differ, because a device's matrix products choose their summation order by the
    /// shapes.
    ///
    /// Calls may come from several threads; on a device they run one after the other.
    ///
    /// ```no_run
    /// # use janus_infer::{SequenceInput, LogitsWanted, Model};
    /// let model = Model::load("model", &candle_core::Device::Cpu)?;
    /// let (mut cache, mut logits) = (model.cache(), Vec::new());
    /// model.forward(&mut [SequenceInput::new(&[1, 5, 9], &mut cache, LogitsWanted::Last)], &mut logits)?;
    /// assert_eq!(logits.len(), model.config().vocab_size);
    /// # Ok::<(), janus_infer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TokenId`] if an id is outside the vocabulary, [`Error::NoTokens`] if a sequence has no
    /// tokens, [`Error::ForeignCache`] if a cache was made by another model; the caches are unchanged.
    /// On a device [`Error::Candle`], for instance when its memory is full; the caches are then empty.
    pub fn forward(&self, inputs: &mut [SequenceInput<'_>], logits: &mut Vec<f32>) -> Result<()> {
        let vocab_size = self.config.vocab_size;
        for input in inputs.iter() {
            if input.tokens.is_empty() {
                return Err(Error::NoTokens);
            }
            if let Some(&id) = input.tokens.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(Error::TokenId { id, vocab_size });
            }
            if !input.cache.is_of(&self.blocks) {
                return Err(Error::ForeignCache);
            }
        }
        logits.resize(inputs.iter().map(SequenceInput::logit_rows).sum::<usize>() * self.outputs, 0.0);
        if inputs.is_empty() {
            return Ok(());
        }
        match &self.backend {
            Backend::Cpu(decoder) => decoder.forward(inputs, logits),
            Backend::Device(decoder) => decoder.forward(inputs, logits)?,
        }
        Ok(())
    }
}

/// Refuses a device that the crate was not built for, so that loading fails and not the first forward pass.
fn check_device(device: &Device) -> Result<()> {
    let (feature, built) = match device {
        Device::Cpu => return Ok(()),
        Device::Cuda(_) => ("cuda", cfg!(feature = "cuda")),
        Device::Metal(_) => ("metal", cfg!(feature = "metal")),
    };
    if built { Ok(()) } else { Err(Error::Device { got: format!("{:?}", device.location()), feature }) }
}
