//! Decoders on disk: folders with `config.json` and safetensors in the Hugging Face layout.

use std::path::Path;

use candle_core::{Device, Tensor};
use janus_infer::{ConfigFile, ModelFolder, VALUE_HEAD};

use super::{DType, Decoder, HEAD};
use crate::Result;
use crate::error::AtPath;
use crate::gradients::{first_not_finite, on_cpu};
use crate::ops::LowRank;
use crate::ops::storage::Values;
use crate::tensors::{NamedTensor, Numbers, Tensors, write_tensors};

impl Decoder {
    /// Reads a model: a folder with `config.json` and `model.safetensors` (or its shards and their
    /// index), or a GGUF file. Weights of any float type are converted to f32;
    /// [`load_as`](Self::load_as) converts to another dtype.
    ///
    /// The head of a reward model is in `value_head.safetensors` in the same folder, or among the
    /// weights under the name that `config.json` gives (OpenRLHF; see [`ModelFolder::value_head`]). A
    /// reward model may lack `lm_head.weight`. The scale of its rewards is `mean` and `std` in
    /// `config.json`.
    ///
    /// # Errors
    /// If a file is missing or unreadable, or lacks a tensor of the config's shape.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::load_as(path, DType::F32, device)
    }

    /// [`load`](Self::load) with weights of this dtype. They are converted one by one, without an f32
    /// copy of all of them.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(path: impl AsRef<Path>, dtype: DType, device: &Device) -> Result<Self> {
        let folder = ModelFolder::new(path.as_ref());
        let (weights, config) = (folder.weights()?, folder.config()?);
        weights.check_all_used(&config)?;
        let names = weights.names();
        let has = |name: &str| names.iter().any(|n| n == name);
        let head = folder.value_head(&config, &weights)?;
        let mut decoder = Self::empty(&config.model, dtype, device);
        for (name, shape) in config.model.tensors() {
            // A reward model does not need an `lm_head`.
            if name == HEAD && head.is_some() && !has(HEAD) {
                continue;
            }
            decoder.insert(&name, &weights.tensor(&name, &shape, device)?)?;
        }
        if let Some(head) = head {
            decoder
                .insert(VALUE_HEAD, &Tensor::from_vec(head.values, (1, config.model.hidden_size), device)?)?;
            decoder.reward_scale = config.reward_scale;
        }
        decoder.other_config = config.other;
        Ok(decoder)
    }

    /// Sets the tokens that begin and end a sequence, which the saved config states.
    pub fn set_special_tokens(&mut self, bos: Option<u32>, eos: Vec<u32>) {
        self.config.bos_token_id = bos;
        self.config.eos_token_ids = eos;
    }

    /// Writes `config.json` and `model.safetensors`, and `value_head.safetensors` if there is a value
    /// head, into a folder, which is created if it does not exist. Each file is written atomically, and
    /// tensor by tensor, so that little memory is needed. Weights are written in their dtype, f32 or
    /// bf16, which is `torch_dtype` in the config; LoRA adapters are merged. Keys of a loaded
    /// `config.json` that are not interpreted are written again ([`ConfigFile::other`]);
    /// `generation_config.json` is not, except for its end-of-sequence tokens.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = ModelFolder::new(folder.as_ref());
        std::fs::create_dir_all(folder.path()).at(folder.path())?;
        let others = self.weights.iter().filter(|(name, _)| !is_low_rank(name));
        let (head, backbone): (Vec<_>, Vec<_>) = others.partition(|(name, _)| *name == VALUE_HEAD);
        write_tensors(
            &folder.weights_path(),
            backbone.into_iter().map(|(name, weight)| self.updated(name, weight)).collect(),
        )?;
        if !head.is_empty() {
            write_tensors(&folder.value_head_path(), named(head))?;
        }
        let mut config = ConfigFile::new(self.config.clone());
        config.dtype = Some(self.dtype.torch().into());
        config.reward_scale = self.reward_scale;
        config.other = self.other_config.clone();
        Ok(folder.write_config(&config)?)
    }

    /// A weight, merged with its LoRA adapter if it has one. The merged tensor is computed when it is
    /// written, because all of them at once would need the memory of a second model.
    fn updated<'a>(&'a self, name: &str, weight: &'a Tensor) -> NamedTensor<'a> {
        let part = |tail: &str| self.weights.get(&name.replace(".weight", tail));
        let (Some(a), Some(b), Some(config)) = (part(".lora_A.weight"), part(".lora_B.weight"), &self.lora)
        else {
            return NamedTensor::of(name, weight);
        };
        let make = || {
            let low_rank = LowRank { a: a.detach(), b: b.detach(), scale: config.scale(), dropout: None };
            Ok(low_rank.merged(&weight.detach())?)
        };
        NamedTensor {
            name: name.into(),
            shape: weight.dims().into(),
            numbers: Numbers::Made(weight.dtype(), Box::new(make)),
        }
    }

    /// Writes the LoRA adapters, if there are any. A model folder holds only the merged weights.
    pub(crate) fn save_low_rank(&self, path: &Path) -> Result<()> {
        let parts = named(self.weights.iter().filter(|(name, _)| is_low_rank(name)));
        if parts.is_empty() { Ok(()) } else { write_tensors(path, parts) }
    }

    /// Sets every parameter from a model folder that [`save`](Self::save) wrote, and the LoRA adapters
    /// from the file `low_rank`. `others` are frozen weights that are restored too.
    pub(crate) fn restore(&mut self, folder: &Path, low_rank: &Path, others: &[String]) -> Result<()> {
        let folder = ModelFolder::new(folder);
        let files = [folder.weights_path(), folder.value_head_path(), low_rank.into()];
        let file_of = |name: &str| if is_low_rank(name) { 2 } else { usize::from(name == VALUE_HEAD) };
        for (place, path) in files.iter().enumerate() {
            let mut parameters = self.parameters.iter().filter(|(name, _)| file_of(name) == place).peekable();
            if parameters.peek().is_some() {
                let mut tensors = Tensors::open(path)?;
                for (name, var) in parameters {
                    var.set(&tensors.tensor(name, var.dims(), var.dtype(), &self.device)?)?;
                }
            }
        }
        for name in others {
            if let Some(weight) = self.weights.get_mut(name) {
                let mut tensors = Tensors::open(&files[file_of(name)])?;
                *weight = tensors.tensor(name, weight.dims(), weight.dtype(), &self.device)?;
            }
        }
        Ok(())
    }

    /// The first parameter with a value that is infinite or NaN, and that value.
    pub(crate) fn not_finite(&self) -> Result<Option<(String, f64)>> {
        for (name, var) in &self.parameters {
            let wide = on_cpu(&var.detach())?.to_dtype(candle_core::DType::F32)?;
            if let Some(value) = first_not_finite(&Values::of(&wide)?) {
                return Ok(Some((name.clone(), value)));
            }
        }
        Ok(None)
    }
}

fn named<'a>(weights: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> Vec<NamedTensor<'a>> {
    weights.into_iter().map(|(name, weight)| NamedTensor::of(name, weight)).collect()
}

fn is_low_rank(name: &str) -> bool {
    name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight")
}
