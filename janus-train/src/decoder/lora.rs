//! LoRA adapters and frozen weights.

use candle_core::Tensor;
use janus_infer::Projection;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Decoder, VALUE_HEAD};
use crate::ops::{Dropout, LowRank};
use crate::{Error, Gradients, Result};

/// Which projections get LoRA adapters, and of what rank (Hu et al., arXiv 2106.09685).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank of the adapters.
    pub rank: usize,
    /// The adapter's output is scaled by alpha / rank.
    pub alpha: f64,
    /// Names of the projections: `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`.
    #[serde(default = "all_targets")]
    pub targets: Vec<String>,
    /// Dropout probability for the adapter's input in training: 0 or more, below 1. The input of the
    /// projection itself is not dropped, and the adapter's output is scaled so that its expectation
    /// stays the same, as in peft. On the CPU, a step with dropout runs in candle's own ops, several
    /// times slower than without dropout.
    #[serde(default)]
    pub dropout: f64,
}

fn all_targets() -> Vec<String> {
    Projection::ALL.map(|projection| projection.short_name().to_string()).into()
}

impl LoraConfig {
    /// Adapters for every projection, without dropout.
    pub fn new(rank: usize, alpha: f64) -> Self {
        Self { rank, alpha, targets: all_targets(), dropout: 0.0 }
    }

    /// This config with changes, as an expression: `config.with(|config| config.dropout = 0.1)`.
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    /// # Errors
    /// [`Error::Setting`] for a rank of 0, an alpha that is not a finite number above 0, a dropout
    /// outside its range, no targets, or an unknown projection.
    pub fn check(&self) -> Result<()> {
        if self.rank == 0 {
            return Err(Error::Setting { field: "lora.rank", got: "0".into(), expected: "at least 1" });
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Error::Setting {
                field: "lora.alpha",
                got: self.alpha.to_string(),
                expected: "a finite number above 0",
            });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::Setting {
                field: "lora.dropout",
                got: self.dropout.to_string(),
                expected: "a number from 0 to below 1",
            });
        }
        match self
            .targets
            .iter()
            .find(|target| !Projection::ALL.iter().any(|known| known.short_name() == **target))
        {
            None if !self.targets.is_empty() => Ok(()),
            unknown => {
                let got = unknown.map_or("empty", String::as_str).to_string();
                let expected = "one or more of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj";
                Err(Error::Setting { field: "lora.targets", got, expected })
            }
        }
    }

    pub(super) fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

impl Decoder {
    /// Adds LoRA adapters, which are trained instead of the weights, in the weights' dtype. A is drawn
    /// uniformly from ±1/sqrt(in) and B is zero, so the model's output is unchanged at first. A value
    /// head has no adapter and stays trainable. Adapters that the model already has are merged first.
    ///
    /// # Errors
    /// [`Error::Setting`] for a config out of range.
    pub fn with_lora(self, config: LoraConfig, seed: u64) -> Result<Self> {
        config.check()?;
        let mut decoder = self.merged()?.frozen(|name| name != VALUE_HEAD);
        let targets = Projection::ALL
            .into_iter()
            .filter(|target| config.targets.iter().any(|name| name == target.short_name()));
        let layers = decoder.config.num_hidden_layers;
        for name in targets.flat_map(|target| {
            (0..layers).map(move |layer| format!("model.layers.{layer}.{}", target.hf_name()))
        }) {
            let (out, input) = decoder.weight(&format!("{name}.weight")).dims2()?;
            let mut rng = janus_core::stream(seed, &format!("lora {name}"));
            let bound = 1.0 / (input as f32).sqrt();
            let a: Vec<f32> = (0..config.rank * input).map(|_| rng.random_range(-bound..bound)).collect();
            let device = decoder.device.clone();
            decoder.insert(
                &format!("{name}.lora_A.weight"),
                &Tensor::from_vec(a, (config.rank, input), &device)?,
            )?;
            let b = Tensor::zeros((out, config.rank), candle_core::DType::F32, &device)?;
            decoder.insert(&format!("{name}.lora_B.weight"), &b)?;
        }
        decoder.lora = Some(config);
        Ok(decoder)
    }

    /// [`recording`](Self::recording) for a micro-batch of a training step: with the dropout of the LoRA
    /// adapters, if they have any. The masks depend only on the seed, the step, the micro-batch, the
    /// layer and the projection, so a repeated step has the same masks. No other method applies dropout.
    pub fn in_training(&self, gradients: &Gradients, seed: u64, step: u64, micro_batch: usize) -> Self {
        let dropout =
            janus_core::derive_seed(seed, &format!("dropout of step {step}, micro-batch {micro_batch}"));
        Self { dropout: Some(dropout), ..self.recording(gradients) }
    }

    /// The config of the LoRA adapters, if there are any.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// Merges the LoRA adapters into the weights. All weights stay frozen, except a value head. To train
    /// all weights, save the model and load it.
    ///
    /// # Errors
    /// If candle fails.
    pub fn merged(mut self) -> Result<Self> {
        let Some(config) = self.lora.take() else { return Ok(self) };
        let updated: Vec<String> = self
            .weights
            .keys()
            .filter_map(|name| Some(name.strip_suffix(".lora_A.weight")?.to_string()))
            .collect();
        for name in updated {
            let part = |tail: &str| format!("{name}.{tail}.weight");
            let (a, b) = (self.weight(&part("lora_A")), self.weight(&part("lora_B")));
            let low_rank = LowRank { a: a.clone(), b: b.clone(), scale: config.scale(), dropout: None };
            let weight = low_rank.merged(self.weight(&format!("{name}.weight")))?.detach();
            for tail in ["lora_A", "lora_B"] {
                self.weights.remove(&part(tail));
                self.parameters.remove(&part(tail));
            }
            self.weights.insert(format!("{name}.weight"), weight);
        }
        Ok(self)
    }

    /// Freezes the weights whose names `freeze` selects: no gradient is computed for them.
    pub fn frozen(mut self, freeze: impl Fn(&str) -> bool) -> Self {
        let names: Vec<String> = self.parameters.keys().filter(|name| freeze(name)).cloned().collect();
        for name in names {
            self.parameters.remove(&name);
            if let Some(weight) = self.weights.get_mut(&name) {
                *weight = weight.detach();
            }
        }
        self
    }

    /// Makes weights trainable again that [`frozen`](Self::frozen) froze, by their names.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub(crate) fn thawed(mut self, names: &[String]) -> Result<Self> {
        for name in names {
            if let Some(weight) = self.weights.remove(name) {
                self.insert(name, &weight)?;
            }
        }
        Ok(self)
    }

    /// The LoRA adapter of a projection, if it has one.
    pub(super) fn low_rank(&self, layer: usize, projection: Projection) -> Option<LowRank> {
        let config = self.lora.as_ref()?;
        let name = |tail: &str| format!("model.layers.{layer}.{}.{tail}.weight", projection.hf_name());
        let weight = |tail: &str| self.weights.get(&name(tail)).cloned();
        let key = self.dropout.filter(|_| config.dropout > 0.0);
        let dropout = key
            .map(|key| Dropout { rate: config.dropout, key: janus_core::derive_seed(key, &name("dropout")) });
        Some(LowRank { a: weight("lora_A")?, b: weight("lora_B")?, scale: config.scale(), dropout })
    }
}
