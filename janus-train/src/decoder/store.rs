//! Decoders on disk: folders with `config.json` and safetensors, as Hugging Face lays them out.

use std::path::Path;

use candle_core::{Device, Tensor};
use janus_infer::{RewardScale, VALUE_HEAD, ValueHead, Weights};

use super::value_head;
use super::{Decoder, HEAD, WeightType};
use crate::Result;
use crate::file::{AtPath, Data, Tensors, write_tensors, write_whole};

impl Decoder {
    /// Reads a model: a folder with `config.json` and `model.safetensors` (or its shards and their index), or a GGUF file;
    /// weights of other float types become f32, as [`load_as`](Self::load_as) another.
    ///
    /// A reward model has its head in `value_head.safetensors` beside the weights, or among them by the name that the config
    /// states (OpenRLHF; see [`ValueHead::find`]), and may lack `lm_head.weight`; the scale of its rewards is `mean` and `std` of `config.json`.
    ///
    /// # Errors
    /// If a file is missing or unreadable, or lacks a tensor of the config's shape.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::load_as(path, WeightType::F32, device)
    }

    /// [`load`](Self::load) with weights of this type; they are rounded one by one, so that no f32 copy of all of them is made.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(path: impl AsRef<Path>, dtype: WeightType, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let weights = Weights::open(path)?;
        let config = weights.config()?;
        let names = weights.names();
        let has = |name: &str| names.iter().any(|n| n == name);
        let head = ValueHead::find(path, &weights, config.hidden_size)?;
        let mut decoder = Self::empty(&config, dtype, device);
        for (name, shape) in config.tensors() {
            // What scores documents needs no words.
            if name == HEAD && head.is_some() && !has(HEAD) {
                continue;
            }
            decoder.insert(&name, &weights.tensor(&name, &shape, device)?)?;
        }
        if let Some(head) = head {
            decoder.insert(VALUE_HEAD, &Tensor::from_vec(head.values, (1, config.hidden_size), device)?)?;
            decoder.reward_scale = RewardScale::of_folder(path)?;
        }
        Ok(decoder)
    }

    /// Writes `config.json` and `model.safetensors`, and `value_head.safetensors` if there is a value head, into a folder,
    /// which is made if need be; each file whole or not at all. Weights are written as they are, in f32 or bf16, which is
    /// `torch_dtype` in the config; low-rank updates are added to their weights.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).at(folder)?;
        if self.lora.is_some() {
            return self.detached()?.merged()?.save(folder);
        }
        let (head, backbone): (Vec<_>, Vec<_>) = self.weights.iter().partition(|(name, _)| *name == VALUE_HEAD);
        write_weights(&folder.join("model.safetensors"), &backbone)?;
        if !head.is_empty() {
            write_weights(&folder.join("value_head.safetensors"), &head)?;
        }
        let config = value_head::config_json(&self.config, self.dtype, self.reward_scale);
        write_whole(&folder.join("config.json"), config.as_bytes())
    }

    /// Writes every weight that trains into one file.
    pub(crate) fn save_weights(&self, path: &Path) -> Result<()> {
        let parameters: Vec<(&String, &Tensor)> = self.parameters.iter().map(|(name, var)| (name, var.as_tensor())).collect();
        write_weights(path, &parameters)
    }

    /// Sets every parameter from a file that [`save_weights`](Self::save_weights) wrote.
    pub(crate) fn restore_weights(&self, path: &Path) -> Result<()> {
        let mut tensors = Tensors::read(path, &self.device)?;
        for (name, var) in &self.parameters {
            var.set(&tensors.take(name, var.dims())?.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }
}

fn write_weights(path: &Path, weights: &[(&String, &Tensor)]) -> Result<()> {
    let mut tensors = Vec::with_capacity(weights.len());
    for (name, weight) in weights {
        tensors.push(((*name).clone(), weight.dims(), Data::of(weight)?));
    }
    write_tensors(path, tensors)
}
