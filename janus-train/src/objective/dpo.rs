//! Direct preference optimisation: learning from pairs, relative to a reference model.

use janus_data::Dataset;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{LossDenominator, LossOutput, MicroBatch, Objective, Reference, pairs};
use crate::ops::log_sigmoid;
use crate::{Batch, Decoder, Error, Result};

/// Constants of [`Dpo`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct DpoConfig {
    /// How strongly the model is kept close to the reference model: the inverse of a temperature.
    pub beta: f64,
    /// Probability that the preference of a pair is wrong (Mitchell 2023, "conservative DPO", equation
    /// 3).
    pub label_smoothing: f64,
}

impl Default for DpoConfig {
    /// 0.1 as in the paper, no smoothing.
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0 }
    }
}

impl DpoConfig {
    /// Without label smoothing.
    pub fn new(beta: f64) -> Self {
        Self { beta, ..Self::default() }
    }

    /// # Errors
    /// [`Error::Setting`] for a constant out of range.
    pub fn check(&self) -> Result<()> {
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(Error::Setting {
                field: "beta",
                got: self.beta.to_string(),
                expected: "a finite number above 0",
            });
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            let got = self.label_smoothing.to_string();
            return Err(Error::Setting {
                field: "label_smoothing",
                got,
                expected: "a number from 0 to below 0.5",
            });
        }
        Ok(())
    }
}

/// Direct preference optimisation (Rafailov et al., arXiv 2305.18290, equation 7): with the implicit reward
/// r(y) = β (log π(y) - log π_ref(y)), the mean over pairs of -log σ(r(chosen) - r(rejected)).
///
/// The log-probability of a response is the sum over its supervised tokens. Metrics: `reward_chosen`,
/// `reward_rejected`, `margin`, `accuracy`.
pub struct Dpo {
    config: DpoConfig,
    reference: Reference,
}

impl Dpo {
    /// The objective on `rows`: row 2i is chosen over row 2i + 1.
    ///
    /// # Errors
    /// [`Error::Setting`] for a constant out of range, [`Error::NoReference`] if the reference lacks a
    /// row, [`Error::Data`] if a row cannot be read.
    pub fn new(config: DpoConfig, reference: Reference, rows: &dyn Dataset) -> Result<Self> {
        config.check()?;
        reference.check_rows(rows)?;
        Ok(Self { config, reference })
    }
}

impl Objective for Dpo {
    fn documents_per_example(&self) -> usize {
        2
    }

    fn denominator(&self, batch: &Batch) -> LossDenominator {
        pairs::denominator(batch)
    }

    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        pairs::check(micro_batch)?;
        let DpoConfig { beta, label_smoothing } = self.config;
        let policy = decoder.logprobs(&micro_batch.batch)?.sum_by_document(&micro_batch.batch)?;
        let rewards = ((&policy - self.reference.logprobs(micro_batch, policy.device())?)? * beta)?;
        let (chosen, rejected) = pairs::split(&rewards)?;
        let margin = (&chosen - &rejected)?;
        let mut gain = log_sigmoid(&margin)?;
        if label_smoothing > 0.0 {
            gain = ((gain * (1.0 - label_smoothing))? + (log_sigmoid(&margin.neg()?)? * label_smoothing)?)?;
        }
        let loss = (gain.sum_all()? * (-1.0 / denominator.examples as f64))?;
        Ok(LossOutput { loss, metrics: pairs::metrics(&chosen, &rejected, denominator)? })
    }

    fn check(&self, decoder: &Decoder, rows: &dyn Dataset) -> Result<()> {
        self.reference.check(decoder, rows)
    }

    fn identity(&self) -> Result<Value> {
        let reference = self.reference.identity()?;
        let DpoConfig { beta, label_smoothing } = self.config;
        Ok(json!({ "kind": "dpo", "beta": beta, "label_smoothing": label_smoothing, "reference": reference }))
    }
}
