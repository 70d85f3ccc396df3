//! The settings of a training run.

use serde::{Deserialize, Serialize};

use crate::{AdamWConfig, BatchSampler, DType, Error, Result, Schedule};

/// How long a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Length {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the rows. Micro-batches at the end that do not fill a whole step are left out, as in
    /// the transformers version of the paper's runs: one more step would average over fewer rows than
    /// the learning rate is meant for. A step at the boundary of two epochs takes micro-batches of both.
    Epochs(f64),
}

/// Settings of a training run.
///
/// In TOML or JSON it is one table, in which `steps` or `epochs` is the [`Length`]. Unknown keys are
/// refused, so that a misspelt key does not silently train with a default.
///
/// ```
/// use janus_train::{Length, TrainConfig};
///
/// let mut config = TrainConfig::new(Length::Epochs(2.0), 4096, 5e-6, 42);
/// config.clip_norm = Some(1.0);
/// config.warmup_ratio = Some(0.03);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys")]
#[non_exhaustive]
pub struct TrainConfig {
    /// How long the run trains.
    #[serde(flatten)]
    pub length: Length,
    /// Maximum tokens of a micro-batch; documents are never split.
    pub tokens_per_micro_batch: usize,
    /// Micro-batches of a step. Older recipes call it `accumulation`.
    pub gradient_accumulation_steps: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Shape of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// The warm-up as a fraction of the run's steps, rounded up, instead of `warmup_steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// Decay per unit of learning rate, of tensors with two dimensions.
    pub weight_decay: f64,
    /// AdamW's decay of the two moments.
    pub betas: (f64, f64),
    /// AdamW's epsilon.
    pub eps: f64,
    /// Elements that share a scale in 8-bit moments ([`AdamWConfig::quantized_state_block`]); `None`:
    /// moments in f32. Older recipes call it `eight_bit_block`.
    pub quantized_state_block: Option<usize>,
    /// Gradients whose global L2 norm is larger are scaled down to this norm; `None`: no clipping.
    pub clip_norm: Option<f64>,
    /// Seed of the order of the documents.
    pub seed: u64,
    /// Steps between two checkpoints; `None`: only one at the end.
    pub checkpoint_every: Option<u64>,
    /// How many of the newest checkpoints are kept; older ones are deleted.
    pub keep_last: usize,
    /// `f32`, or `bf16` with an f32 master of each trainable weight. On a CPU, bf16 is many times slower
    /// than f32 and only useful for trials.
    pub dtype: DType,
    /// Recompute activations in the backward pass instead of keeping them.
    pub activation_checkpointing: bool,
    /// Maximum examples of a micro-batch; `None`: limited by its tokens only.
    pub examples_per_micro_batch: Option<usize>,
    /// Steps between two evaluations of the held-out rows; `None`: only one at the end.
    pub evaluate_every: Option<u64>,
    /// Ends the run when a metric of the held-out rows no longer improves.
    pub early_stop: Option<EarlyStop>,
    /// Which evaluation's model is kept in `best/`; `None`: the best one by
    /// [`early_stop`](Self::early_stop), if that is set.
    pub keep_best: Option<KeepBest>,
}

/// The keys of a [`TrainConfig`] in TOML or JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    steps: Option<u64>,
    epochs: Option<f64>,
    tokens_per_micro_batch: usize,
    #[serde(alias = "accumulation")]
    gradient_accumulation_steps: Option<usize>,
    lr: f64,
    schedule: Option<Schedule>,
    #[serde(default)]
    warmup_steps: u64,
    warmup_ratio: Option<f64>,
    #[serde(default)]
    weight_decay: f64,
    betas: Option<(f64, f64)>,
    eps: Option<f64>,
    #[serde(alias = "eight_bit_block")]
    quantized_state_block: Option<usize>,
    clip_norm: Option<f64>,
    #[serde(default)]
    seed: u64,
    checkpoint_every: Option<u64>,
    keep_last: Option<usize>,
    #[serde(default)]
    dtype: DType,
    #[serde(default)]
    activation_checkpointing: bool,
    examples_per_micro_batch: Option<usize>,
    evaluate_every: Option<u64>,
    early_stop: Option<EarlyStop>,
    keep_best: Option<KeepBest>,
}

impl TryFrom<Keys> for TrainConfig {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        let length = match (keys.steps, keys.epochs) {
            (Some(steps), None) => Length::Steps(steps),
            (None, Some(epochs)) => Length::Epochs(epochs),
            (None, None) => return Err("missing field `epochs` or `steps`: expected one of them"),
            (Some(_), Some(_)) => return Err("`steps` and `epochs` are both set: expected one of them"),
        };
        let default = Self::new(length, keys.tokens_per_micro_batch, keys.lr, keys.seed);
        Ok(Self {
            gradient_accumulation_steps: keys
                .gradient_accumulation_steps
                .unwrap_or(default.gradient_accumulation_steps),
            schedule: keys.schedule.unwrap_or(default.schedule),
            warmup_steps: keys.warmup_steps,
            warmup_ratio: keys.warmup_ratio,
            weight_decay: keys.weight_decay,
            betas: keys.betas.unwrap_or(default.betas),
            eps: keys.eps.unwrap_or(default.eps),
            quantized_state_block: keys.quantized_state_block,
            clip_norm: keys.clip_norm,
            checkpoint_every: keys.checkpoint_every,
            keep_last: keys.keep_last.unwrap_or(default.keep_last),
            dtype: keys.dtype,
            activation_checkpointing: keys.activation_checkpointing,
            examples_per_micro_batch: keys.examples_per_micro_batch,
            evaluate_every: keys.evaluate_every,
            early_stop: keys.early_stop,
            keep_best: keys.keep_best,
            ..default
        })
    }
}

/// The criterion for the best evaluation of the held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeepBest {
    /// `loss`, or a metric of the objective such as `accuracy`.
    pub metric: String,
    /// Whether a higher value is better.
    #[serde(default)]
    pub higher_is_better: bool,
}

/// When to end a run before its last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EarlyStop {
    /// The metric to watch: `loss`, or a metric of the objective such as `accuracy`. The model of the
    /// best evaluation is kept in `best/`, unless [`TrainConfig::keep_best`] names another metric.
    pub metric: String,
    /// Whether a higher value is better.
    #[serde(default)]
    pub higher_is_better: bool,
    /// The run ends after this many consecutive evaluations without a new best value.
    pub patience: usize,
}

impl KeepBest {
    /// Keeps the model with the best value of a metric of the held-out rows.
    pub fn new(metric: impl Into<String>, higher_is_better: bool) -> Self {
        Self { metric: metric.into(), higher_is_better }
    }
}

impl EarlyStop {
    /// Stops after `patience` evaluations without a better value of a metric of the held-out rows.
    pub fn new(metric: impl Into<String>, higher_is_better: bool, patience: usize) -> Self {
        Self { metric: metric.into(), higher_is_better, patience }
    }

    pub(crate) fn best(&self) -> KeepBest {
        KeepBest { metric: self.metric.clone(), higher_is_better: self.higher_is_better }
    }
}

impl TrainConfig {
    /// Settings with the documented defaults: one micro-batch per step, cosine without warm-up, no
    /// decay, no clipping, one checkpoint at the end.
    pub fn new(length: Length, tokens_per_micro_batch: usize, lr: f64, seed: u64) -> Self {
        let AdamWConfig { betas, eps, .. } = AdamWConfig::default();
        Self {
            length,
            tokens_per_micro_batch,
            gradient_accumulation_steps: 1,
            lr,
            schedule: Schedule::Cosine,
            warmup_steps: 0,
            warmup_ratio: None,
            weight_decay: 0.0,
            betas,
            eps,
            clip_norm: None,
            seed,
            checkpoint_every: None,
            keep_last: 2,
            quantized_state_block: None,
            dtype: DType::F32,
            activation_checkpointing: false,
            examples_per_micro_batch: None,
            evaluate_every: None,
            early_stop: None,
            keep_best: None,
        }
    }

    /// These settings with changes, as an expression: `config.with(|config| config.lr = 1e-4)`.
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    /// The optimiser's constants.
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            quantized_state_block: self.quantized_state_block,
        }
    }

    /// Whether the held-out rows are evaluated after step `step` of `steps` in a run that is not stopped
    /// early.
    pub(crate) fn evaluation_is_due(&self, step: u64, steps: u64) -> bool {
        step == steps || self.evaluate_every.is_some_and(|every| step.is_multiple_of(every))
    }

    /// The criterion for the model in `best/`.
    pub(crate) fn best(&self) -> Option<KeepBest> {
        self.keep_best.clone().or_else(|| self.early_stop.as_ref().map(EarlyStop::best))
    }

    /// These settings with epochs and warm-up ratio replaced by numbers of steps, for examples of these
    /// lengths in tokens; and the number of steps.
    ///
    /// # Errors
    /// As [`check`](Self::check) and [`BatchSampler::new`]; [`Error::NoWholeStep`] if the epochs fill no
    /// step.
    pub fn for_lengths(&self, lengths: &[usize]) -> Result<(Self, u64)> {
        self.check()?;
        let steps = match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => {
                let micro_batches = self.sampler(lengths.into())?.micro_batches(epochs);
                let per_step = self.gradient_accumulation_steps;
                match micro_batches / per_step as u64 {
                    0 => return Err(Error::NoWholeStep { epochs, micro_batches, per_step }),
                    steps => steps,
                }
            }
        };
        let resolved = Self {
            length: Length::Steps(steps),
            warmup_steps: self.warmup(steps),
            warmup_ratio: None,
            ..self.clone()
        };
        resolved.check()?;
        Ok((resolved, steps))
    }

    /// The micro-batches of the run's epochs that do not fill a last step, so that they are not trained on,
    /// and the number of all; `None` if there are none, or the length is in steps.
    ///
    /// # Errors
    /// As [`for_lengths`](Self::for_lengths).
    pub fn left_over(&self, lengths: &[usize]) -> Result<Option<(u64, u64)>> {
        let Length::Epochs(epochs) = self.length else { return Ok(None) };
        let micro_batches = self.sampler(lengths.into())?.micro_batches(epochs);
        let left_over = micro_batches % self.gradient_accumulation_steps as u64;
        Ok((left_over > 0).then_some((left_over, micro_batches)))
    }

    /// The sampler of micro-batches for examples of these lengths.
    pub(crate) fn sampler(&self, lengths: Vec<usize>) -> Result<BatchSampler> {
        let sampler = BatchSampler::new(self.seed, self.tokens_per_micro_batch, lengths)?;
        Ok(sampler.with_examples(self.examples_per_micro_batch.unwrap_or(usize::MAX)))
    }

    /// Warm-up steps of a run of `steps` steps.
    pub fn warmup(&self, steps: u64) -> u64 {
        // Rounded up, as in OpenRLHF.
        self.warmup_ratio.map_or(self.warmup_steps, |ratio| (ratio * steps as f64).ceil() as u64)
    }

    /// The learning rate of step `step`, counted from 0, of a run of `steps` steps.
    pub fn lr_at(&self, step: u64, steps: u64) -> f64 {
        self.lr * self.schedule.factor(step, self.warmup(steps), steps)
    }

    /// # Errors
    /// [`Error::Setting`] names the first field outside its range.
    pub fn check(&self) -> Result<()> {
        self.adamw().check()?;
        let (steps, epochs) = match self.length {
            Length::Steps(steps) => (Some(steps), None),
            Length::Epochs(epochs) => (None, Some(epochs)),
        };
        let warmup_of = format!("{} of {} steps", self.warmup_steps, steps.unwrap_or_default());
        let text = |value: Option<f64>| value.unwrap_or_default().to_string();
        let rules = [
            (
                "tokens_per_micro_batch",
                self.tokens_per_micro_batch.to_string(),
                "at least 2",
                self.tokens_per_micro_batch >= 2,
            ),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps.to_string(),
                "at least 1",
                self.gradient_accumulation_steps >= 1,
            ),
            ("lr", self.lr.to_string(), "a finite number, 0 or more", self.lr.is_finite() && self.lr >= 0.0),
            (
                "epochs",
                text(epochs),
                "the passes over the rows, a finite number above 0",
                epochs.is_none_or(|n| n.is_finite() && n > 0.0),
            ),
            ("clip_norm", text(self.clip_norm), "above 0", self.clip_norm.is_none_or(|clip| clip > 0.0)),
            ("checkpoint_every", "0".into(), "at least 1", self.checkpoint_every != Some(0)),
            ("examples_per_micro_batch", "0".into(), "at least 1", self.examples_per_micro_batch != Some(0)),
            ("evaluate_every", "0".into(), "at least 1", self.evaluate_every != Some(0)),
            (
                "early_stop.patience",
                "0".into(),
                "at least 1",
                self.early_stop.as_ref().is_none_or(|early_stop| early_stop.patience > 0),
            ),
            (
                "warmup_ratio",
                text(self.warmup_ratio),
                "a fraction of the steps, from 0 to 1",
                self.warmup_ratio.is_none_or(|ratio| (0.0..=1.0).contains(&ratio)),
            ),
            (
                "warmup_ratio",
                text(self.warmup_ratio),
                "no warmup_steps, which are also set: leave one of the two out",
                self.warmup_ratio.is_none() || self.warmup_steps == 0,
            ),
            (
                "warmup_steps",
                warmup_of,
                "fewer than the run's steps, else the learning rate never reaches its peak",
                self.warmup_steps == 0 || steps.is_none_or(|steps| self.warmup_steps < steps),
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
        let config = serde_json::from_str::<TrainConfig>(json).unwrap();
        assert_eq!(config, TrainConfig::new(Length::Steps(3), 64, 0.1, 1));
        let error = serde_json::from_str::<TrainConfig>(&json.replace("seed", "sede")).unwrap_err();
        assert!(error.to_string().contains("sede"), "{error}");
        for epochs in [Length::Epochs(2.5), Length::Steps(7)] {
            let all =
                config.clone().with(|config| (config.length, config.warmup_ratio) = (epochs, Some(0.1)));
            assert_eq!(toml::from_str::<TrainConfig>(&toml::to_string(&all).unwrap()).unwrap(), all);
        }
    }

    #[test]
    fn a_setting_outside_its_range_is_named() {
        let good = TrainConfig::new(Length::Steps(3), 64, 0.1, 1);
        assert!(good.check().is_ok());
        type Set = fn(&mut TrainConfig);
        let set: [(Set, &str); 7] = [
            (|config| config.gradient_accumulation_steps = 0, "gradient_accumulation_steps"),
            (|config| config.lr = f64::NAN, "lr"),
            (|config| config.betas = (0.9, 1.0), "betas"),
            (|config| config.clip_norm = Some(0.0), "clip_norm"),
            (|config| config.warmup_steps = 3, "warmup_steps is 3 of 3 steps"),
            (|config| config.length = Length::Epochs(0.0), "epochs is 0"),
            (
                |config| (config.warmup_steps, config.warmup_ratio) = (1, Some(0.5)),
                "warmup_ratio is 0.5: expected no warmup_steps",
            ),
        ];
        for (set, field) in set {
            let error = good.clone().with(set).check().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    const TABLE: &str =
        "epochs = 2\ntokens_per_micro_batch = 64\nlr = 0.1\nseed = 3\nwarmup_ratio = 0.5\ndtype = \"bf16\"\n";

    #[test]
    fn a_table_of_an_older_recipe_is_read() {
        let old: TrainConfig =
            toml::from_str(&format!("{TABLE}accumulation = 4\neight_bit_block = 256\n")).unwrap();
        assert_eq!((old.length, old.warmup_ratio, old.dtype), (Length::Epochs(2.0), Some(0.5), DType::Bf16));
        assert_eq!((old.gradient_accumulation_steps, old.quantized_state_block), (4, Some(256)));
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_line() {
        for (line, parts) in [
            (
                "learning_rate = 1",
                ["line 7", "unknown field `learning_rate`, expected one of `steps`, `epochs`, `tokens_per"],
            ),
            ("steps = 10", ["", "`steps` and `epochs` are both set"]),
            ("eps = \"small\"", ["line 7", "expected f64"]),
            ("early_stop = { metric = \"loss\", patience = 2, patients = 3 }", ["line 7", "patients"]),
        ] {
            let error = toml::from_str::<TrainConfig>(&format!("{TABLE}{line}\n")).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{line}: {error}");
        }
        for (without, part) in
            [("epochs = 2\n", "missing field `epochs` or `steps`"), ("lr = 0.1\n", "missing field `lr`")]
        {
            let error = toml::from_str::<TrainConfig>(&TABLE.replace(without, "")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = toml::from_str::<TrainConfig>(&TABLE.replace("bf16", "f16")).unwrap_err().to_string();
        assert!(error.contains("`f32` or `bf16`") && error.contains("line 6"), "{error}");
    }

    #[test]
    fn epochs_have_the_whole_steps_that_their_micro_batches_fill() {
        let mut config = TrainConfig::new(Length::Epochs(2.5), 100, 0.1, 1);
        (config.examples_per_micro_batch, config.gradient_accumulation_steps, config.warmup_ratio) =
            (Some(1), 3, Some(0.3));
        // 25 micro-batches, eight whole steps.
        let (resolved, _) = config.for_lengths(&[10; 10]).unwrap();
        assert_eq!(
            (resolved.length, resolved.warmup_steps, resolved.warmup_ratio),
            (Length::Steps(8), 3, None)
        );
        config.gradient_accumulation_steps = 26;
        assert!(matches!(
            config.for_lengths(&[10; 10]),
            Err(Error::NoWholeStep { micro_batches: 25, per_step: 26, .. })
        ));
    }
}
