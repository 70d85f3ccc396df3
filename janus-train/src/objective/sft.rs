//! Supervised fine-tuning.

use serde_json::{Value, json};

use super::{LossDenominator, LossOutput, MicroBatch, Objective};
use crate::{Batch, Decoder, Result};

/// Supervised fine-tuning, and pre-training: the mean negative log-probability of the supervised tokens
/// of a whole step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sft;

impl Objective for Sft {
    fn denominator(&self, batch: &Batch) -> LossDenominator {
        LossDenominator { tokens: batch.supervised().len(), examples: batch.documents() }
    }

    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        let logprobs = decoder.logprobs(&micro_batch.batch)?;
        Ok((logprobs.values.sum_all()? * (-1.0 / denominator.tokens as f64))?.into())
    }

    fn identity(&self) -> Result<Value> {
        Ok(json!({ "kind": "sft" }))
    }
}
