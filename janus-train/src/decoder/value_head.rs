//! The head of a reward model: one number for each document.

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use janus_infer::ModelConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Decoder, embedding, normal};
use crate::file::{AtPath, Tensors};
use crate::ops::linear;
use crate::{Batch, Error, Result};

/// Name of the value head's weight, `[1, hidden]`.
pub const VALUE_HEAD: &str = "value_head.weight";

/// Mean and standard deviation of a reward model's rewards on rows that it was not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RewardScale {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
}

impl Decoder {
    /// This model with a fresh value head, drawn from N(0, 1 / (hidden + 1)²), in place of whatever head it had.
    ///
    /// # Errors
    /// If candle fails.
    pub fn with_value_head(mut self, seed: u64) -> Result<Self> {
        let hidden = self.config.hidden_size;
        let values = normal(seed, VALUE_HEAD, hidden, 1.0 / (hidden + 1) as f64);
        self.insert(VALUE_HEAD, &Tensor::from_vec(values, (1, hidden), &self.device)?)?;
        self.reward_scale = None;
        Ok(self)
    }

    /// Whether there is a value head.
    pub fn has_value_head(&self) -> bool {
        self.weights.contains_key(VALUE_HEAD)
    }

    /// The scale of the value head's rewards, if it was measured.
    pub fn reward_scale(&self) -> Option<RewardScale> {
        self.reward_scale
    }

    /// Sets the scale that is saved with the model.
    pub fn set_reward_scale(&mut self, scale: RewardScale) {
        self.reward_scale = Some(scale);
    }

    /// The value head's output at each document's last token, not scaled: `[documents]`, differentiable.
    ///
    /// # Errors
    /// [`Error::NoHead`] without a value head, [`Error::Batch`] for an empty document; as [`hidden`](Self::hidden).
    pub fn values(&self, batch: &Batch) -> Result<Tensor> {
        let head = self.weights.get(VALUE_HEAD).ok_or(Error::NoHead { name: VALUE_HEAD })?;
        if let Some(document) = batch.cu_seqlens.windows(2).position(|ends| ends[0] >= ends[1]) {
            return Err(Error::Batch { reason: format!("document {document} is empty: there is no last token to value") });
        }
        let last: Vec<u32> = batch.cu_seqlens[1..].iter().map(|end| end - 1).collect();
        let hidden = embedding(&self.hidden(batch)?, &last)?;
        Ok(linear(&hidden, head)?.squeeze(1)?)
    }

    /// Adds a weight that trains, or puts it in the place of the one that had its name.
    pub(super) fn insert(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let var = Var::from_tensor(value)?;
        self.weights.insert(name.into(), var.as_tensor().clone());
        self.parameters.insert(name.into(), var);
        Ok(())
    }
}

/// The head of `value_head.safetensors`, if the folder has that file.
pub(super) fn of_folder(folder: &Path, config: &ModelConfig, device: &Device) -> Result<Option<Tensor>> {
    let path = folder.join("value_head.safetensors");
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Tensors::read(&path, device)?.take(VALUE_HEAD, &[1, config.hidden_size])?))
}

/// `mean` and `std` of a folder's `config.json`.
pub(super) fn scale_of_folder(folder: &Path) -> Result<Option<RewardScale>> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).at(&path)?;
    let config: Value = serde_json::from_str(&text).map_err(|error| Error::Malformed { path, reason: error.to_string() })?;
    let number = |key: &str| config.get(key).and_then(Value::as_f64);
    Ok(number("mean").zip(number("std")).map(|(mean, std)| RewardScale { mean, std }))
}

/// `config.json` with the scale, if there is one.
pub(super) fn config_with_scale(config: &ModelConfig, scale: Option<RewardScale>) -> String {
    let text = config.to_json();
    match (scale, serde_json::from_str::<serde_json::Map<String, Value>>(&text)) {
        (Some(RewardScale { mean, std }), Ok(mut map)) => {
            map.insert("mean".into(), mean.into());
            map.insert("std".into(), std.into());
            format!("{:#}\n", Value::Object(map))
        }
        _ => text,
    }
}
