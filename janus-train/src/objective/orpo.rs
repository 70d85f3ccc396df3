//! Odds-ratio preference optimisation: learning from pairs without a reference model.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{LossDenominator, LossOutput, MicroBatch, Objective, pairs};
use crate::ops::{log_sigmoid, log1mexp};
use crate::{Batch, Decoder, Error, Result};

/// Which tokens of the chosen document the imitation term of [`Orpo`] is a mean over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NllSpan {
    /// The supervised tokens: the response.
    #[default]
    Response,
    /// All tokens but the first, including the prompt, as in TRL and in the paper's runs.
    Row,
}

/// Odds-ratio preference optimisation (Hong et al., arXiv 2403.07691, equations 6 and 7): the mean negative
/// log-probability of the chosen documents' tokens, minus λ times the mean over pairs of log σ of the log
/// odds ratio log(odds(chosen) / odds(rejected)), where log odds(y) = p - log(1 - e^p) and p is the mean
/// log-probability of y's supervised tokens.
///
/// Metrics: `reward_chosen` and `reward_rejected` (λp), `margin`, `accuracy`, `nll`, `log_odds`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Orpo {
    lambda: f64,
    nll: NllSpan,
}

impl Orpo {
    /// The objective; `lambda` weighs the odds ratio (0.1 in the paper).
    ///
    /// # Errors
    /// [`Error::Setting`] for a λ out of range.
    pub fn new(lambda: f64, nll: NllSpan) -> Result<Self> {
        if !(lambda.is_finite() && lambda >= 0.0) {
            return Err(Error::Setting {
                field: "lambda",
                got: lambda.to_string(),
                expected: "a finite number, 0 or more",
            });
        }
        Ok(Self { lambda, nll })
    }

    /// Tokens of the chosen documents that the imitation term covers, by index in the batch.
    fn imitated(&self, batch: &Batch) -> Vec<u32> {
        match self.nll {
            NllSpan::Response => pairs::chosen_tokens(batch),
            NllSpan::Row => {
                batch.cu_seqlens.windows(2).step_by(2).flat_map(|ends| ends[0] + 1..ends[1]).collect()
            }
        }
    }
}

impl Objective for Orpo {
    fn documents_per_example(&self) -> usize {
        2
    }

    fn denominator(&self, batch: &Batch) -> LossDenominator {
        LossDenominator { tokens: self.imitated(batch).len(), ..pairs::denominator(batch) }
    }

    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        pairs::check(micro_batch)?;
        let batch = &micro_batch.batch;
        let imitated = self.imitated(batch);
        // The union of the tokens that the two terms read, in order.
        let mut tokens = batch.supervised();
        tokens.extend(&imitated);
        tokens.sort_unstable();
        tokens.dedup();
        let logprobs = decoder.logprobs_at(batch, tokens)?;
        let nll = (logprobs.select(&imitated)?.values.sum_all()? * (-1.0 / denominator.tokens as f64))?;
        let mean = logprobs.select(&batch.supervised())?.mean_by_document(batch)?;
        let (chosen, rejected) = pairs::split(&mean)?;
        let log_odds = ((&chosen - &rejected)? - (log1mexp(&chosen)? - log1mexp(&rejected)?)?)?;
        let gain = log_sigmoid(&log_odds)?;
        let loss = (&nll - (gain.sum_all()? * (self.lambda / denominator.examples as f64))?)?;
        let mut metrics = pairs::metrics(&(chosen * self.lambda)?, &(rejected * self.lambda)?, denominator)?;
        metrics.insert("nll", f64::from(nll.to_scalar::<f32>()?));
        metrics.insert(
            "log_odds",
            f64::from(log_odds.sum_all()?.to_scalar::<f32>()?) / denominator.examples as f64,
        );
        Ok(LossOutput { loss, metrics })
    }

    fn identity(&self) -> Result<Value> {
        Ok(json!({ "kind": "orpo", "lambda": self.lambda, "nll": self.nll }))
    }
}
