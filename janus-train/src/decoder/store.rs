//! Decoders on disk: folders with `config.json` and safetensors, as Hugging Face lays them out.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use janus_data::write_file;
use janus_infer::{RewardScale, VALUE_HEAD, ValueHead, Weights};

use super::value_head;
use super::{Decoder, HEAD, WeightType};
use crate::Result;
use crate::error::AtPath;
use crate::gradients::{first_not_finite, on_cpu};
use crate::ops::LowRank;
use crate::ops::storage::Values;
use crate::tensors::{NamedTensor, Numbers, Tensors, write_tensors};

const MODEL: &str = "model.safetensors";
const HEAD_FILE: &str = "value_head.safetensors";

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
    /// which is made if need be; each file whole or not at all, and tensor by tensor, so that little memory is taken. Weights are written as they are, in f32 or bf16, which is
    /// `torch_dtype` in the config; low-rank updates are added to their weights.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).at(folder)?;
        let others = self.weights.iter().filter(|(name, _)| !is_low_rank(name));
        let (head, backbone): (Vec<_>, Vec<_>) = others.partition(|(name, _)| *name == VALUE_HEAD);
        write_tensors(&folder.join(MODEL), backbone.into_iter().map(|(name, weight)| self.updated(name, weight)).collect())?;
        if !head.is_empty() {
            write_tensors(&folder.join(HEAD_FILE), named(head))?;
        }
        let config = value_head::config_json(&self.config, self.dtype, self.reward_scale);
        Ok(write_file(folder.join("config.json"), config.as_bytes())?)
    }

    /// A weight as it is, or with its low-rank update: made when it is written, since all of them at once would be a second model.
    fn updated<'a>(&'a self, name: &str, weight: &'a Tensor) -> NamedTensor<'a> {
        let part = |tail: &str| self.weights.get(&name.replace(".weight", tail));
        let (Some(a), Some(b), Some(config)) = (part(".lora_A.weight"), part(".lora_B.weight"), &self.lora) else {
            return NamedTensor::of(name, weight);
        };
        let make = || {
            let low_rank = LowRank { a: a.detach(), b: b.detach(), scale: config.scale(), dropout: None };
            Ok(low_rank.merged(&weight.detach())?)
        };
        NamedTensor { name: name.into(), shape: weight.dims().into(), numbers: Numbers::Made(weight.dtype(), Box::new(make)) }
    }

    /// Writes the low-rank updates, if there are any, of which a model folder holds the sums with their weights alone.
    pub(crate) fn save_low_rank(&self, path: &Path) -> Result<()> {
        let parts = named(self.weights.iter().filter(|(name, _)| is_low_rank(name)));
        if parts.is_empty() { Ok(()) } else { write_tensors(path, parts) }
    }

    /// Sets every parameter from a model folder that [`save`](Self::save) wrote, and the low-rank updates beside it.
    pub(crate) fn restore(&self, folder: &Path, low_rank: &Path) -> Result<()> {
        let files = [folder.join(MODEL), folder.join(HEAD_FILE), low_rank.into()];
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
        Ok(())
    }

    /// The first parameter with a value that is infinite or not a number, and that value.
    pub(crate) fn not_finite(&self) -> Result<Option<(String, f64)>> {
        for (name, var) in &self.parameters {
            let wide = on_cpu(&var.detach())?.to_dtype(DType::F32)?;
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
