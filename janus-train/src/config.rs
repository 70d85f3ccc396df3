//! What a run is asked to do.

use serde::{Deserialize, Serialize};

use crate::{AdamWConfig, Error, Result, Schedule, WeightType};

/// Settings of a training run. Unknown fields are refused: a misspelt one must not train with a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps of the whole run.
    pub steps: u64,
    /// Tokens of a micro-batch, at most; documents are kept whole.
    pub tokens_per_micro_batch: usize,
    /// Micro-batches of a step.
    #[serde(default = "one")]
    pub accumulation: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Shape of the learning rate after the warm-up.
    #[serde(default = "cosine")]
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Decay per unit of learning rate, of tensors with two dimensions.
    #[serde(default)]
    pub weight_decay: f64,
    /// AdamW's decay of the two moments.
    #[serde(default = "betas")]
    pub betas: (f64, f64),
    /// AdamW's epsilon.
    #[serde(default = "eps")]
    pub eps: f64,
    /// Elements that share a scale in 8-bit moments ([`AdamWConfig::eight_bit_block`]); none: moments in f32.
    #[serde(default)]
    pub eight_bit_block: Option<usize>,
    /// The L2 norm over all gradients is scaled down to this; none: never.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Seed of the order of the documents.
    #[serde(default)]
    pub seed: u64,
    /// Steps between two checkpoints; none: only one at the end.
    #[serde(default)]
    pub checkpoint_every: Option<u64>,
    /// Newest checkpoints that are kept; older ones are deleted.
    #[serde(default = "two")]
    pub keep_last: usize,
    /// `f32`, or `bf16` with an f32 master of each weight that trains. On a CPU, bf16 is for trying out: slower than f32 many
    /// times over.
    #[serde(default, skip_serializing_if = "WeightType::is_f32")]
    pub dtype: WeightType,
    /// Compute activations again in the backward pass instead of keeping them.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// Examples of a micro-batch, at most; none: as many as its tokens allow.
    #[serde(default)]
    pub examples_per_micro_batch: Option<usize>,
    /// Steps between two evaluations of the held-out rows; none: only one at the end.
    #[serde(default)]
    pub evaluate_every: Option<u64>,
    /// Ends the run when the held-out rows show no more gain.
    #[serde(default)]
    pub early_stop: Option<EarlyStop>,
    /// Whose model is kept in `best/`; none: that of [`early_stop`](Self::early_stop), if it is set.
    #[serde(default)]
    pub keep_best: Option<KeepBest>,
}

/// Which evaluation of the held-out rows is the best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepBest {
    /// `loss`, or a figure of the objective such as `accuracy`.
    pub metric: String,
    /// Whether more is better.
    #[serde(default)]
    pub higher_is_better: bool,
}

/// When to end a run before its last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// What is watched: `loss`, or a figure of the objective such as `accuracy`. The model of the best evaluation is
    /// kept in `best/`, unless [`TrainConfig::keep_best`] names another.
    pub metric: String,
    /// Whether more is better.
    #[serde(default)]
    pub higher_is_better: bool,
    /// Evaluations in a row without a new best after which the run ends.
    pub patience: usize,
}

impl EarlyStop {
    pub(crate) fn best(&self) -> KeepBest {
        KeepBest { metric: self.metric.clone(), higher_is_better: self.higher_is_better }
    }
}

fn one() -> usize {
    1
}
fn two() -> usize {
    2
}
fn cosine() -> Schedule {
    Schedule::Cosine
}
fn betas() -> (f64, f64) {
    AdamWConfig::default().betas
}
fn eps() -> f64 {
    AdamWConfig::default().eps
}

impl TrainConfig {
    /// Settings with the documented defaults: one micro-batch a step, cosine without warm-up, no decay, no
    /// clipping, one checkpoint at the end.
    pub fn new(steps: u64, tokens_per_micro_batch: usize, lr: f64, seed: u64) -> Self {
        Self {
            steps,
            tokens_per_micro_batch,
            accumulation: one(),
            lr,
            schedule: cosine(),
            warmup_steps: 0,
            weight_decay: 0.0,
            betas: betas(),
            eps: eps(),
            clip_norm: None,
            seed,
            checkpoint_every: None,
            keep_last: two(),
            eight_bit_block: None,
            dtype: WeightType::F32,
            activation_checkpointing: false,
            examples_per_micro_batch: None,
            evaluate_every: None,
            early_stop: None,
            keep_best: None,
        }
    }

    /// The optimiser's part.
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig { betas: self.betas, eps: self.eps, weight_decay: self.weight_decay, eight_bit_block: self.eight_bit_block }
    }

    /// Which model is kept in `best/`.
    pub(crate) fn best(&self) -> Option<KeepBest> {
        self.keep_best.clone().or_else(|| self.early_stop.as_ref().map(EarlyStop::best))
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn lr_at(&self, step: u64) -> f64 {
        self.lr * self.schedule.factor(step, self.warmup_steps, self.steps)
    }

    /// # Errors
    /// [`Error::Setting`] names the first field outside its range.
    pub fn check(&self) -> Result<()> {
        let unit = |x: f64| (0.0..1.0).contains(&x);
        let rules = [
            ("tokens_per_micro_batch", self.tokens_per_micro_batch.to_string(), "at least 2", self.tokens_per_micro_batch >= 2),
            ("accumulation", self.accumulation.to_string(), "at least 1", self.accumulation >= 1),
            ("lr", self.lr.to_string(), "a finite number, 0 or more", self.lr.is_finite() && self.lr >= 0.0),
            (
                "weight_decay",
                self.weight_decay.to_string(),
                "a finite number, 0 or more",
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            ),
            ("betas", format!("{:?}", self.betas), "two numbers in 0..1", unit(self.betas.0) && unit(self.betas.1)),
            ("eps", self.eps.to_string(), "a finite number above 0", self.eps.is_finite() && self.eps > 0.0),
            ("clip_norm", format!("{:?}", self.clip_norm), "above 0", self.clip_norm.is_none_or(|clip| clip > 0.0)),
            ("checkpoint_every", format!("{:?}", self.checkpoint_every), "at least 1", self.checkpoint_every != Some(0)),
            ("eight_bit_block", format!("{:?}", self.eight_bit_block), "at least 1", self.eight_bit_block != Some(0)),
            (
                "examples_per_micro_batch",
                format!("{:?}", self.examples_per_micro_batch),
                "at least 1",
                self.examples_per_micro_batch != Some(0),
            ),
            ("evaluate_every", format!("{:?}", self.evaluate_every), "at least 1", self.evaluate_every != Some(0)),
            ("early_stop.patience", "0".into(), "at least 1", self.early_stop.as_ref().is_none_or(|early_stop| early_stop.patience > 0)),
            (
                "warmup_steps",
                format!("{} of {} steps", self.warmup_steps, self.steps),
                "fewer than the run's steps, else the learning rate never reaches its peak",
                self.warmup_steps == 0 || self.warmup_steps < self.steps,
            ),
            ("keep_last", self.keep_last.to_string(), "at least 1", self.keep_last >= 1),
        ];
        match rules.into_iter().find(|rule| !rule.3) {
            Some((field, got, expected, _)) => Err(Error::Setting { field, got, expected }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_refused_and_defaults_are_the_documented_ones() {
        let json = r#"{"steps": 3, "tokens_per_micro_batch": 64, "lr": 0.1, "seed": 1}"#;
        assert_eq!(serde_json::from_str::<TrainConfig>(json).unwrap(), TrainConfig::new(3, 64, 0.1, 1));
        let error = serde_json::from_str::<TrainConfig>(&json.replace("seed", "sede")).unwrap_err();
        assert!(error.to_string().contains("sede"), "{error}");
    }

    #[test]
    fn a_setting_outside_its_range_is_named() {
        let good = TrainConfig::new(3, 64, 0.1, 1);
        assert!(good.check().is_ok());
        for (bad, field) in [
            (TrainConfig { accumulation: 0, ..good.clone() }, "accumulation"),
            (TrainConfig { lr: f64::NAN, ..good.clone() }, "lr"),
            (TrainConfig { betas: (0.9, 1.0), ..good.clone() }, "betas"),
            (TrainConfig { clip_norm: Some(0.0), ..good.clone() }, "clip_norm"),
            (TrainConfig { warmup_steps: 3, ..good.clone() }, "warmup_steps is 3 of 3 steps"),
        ] {
            assert!(bad.check().unwrap_err().to_string().starts_with(field));
        }
    }
}
