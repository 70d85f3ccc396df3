//! Learning by imitation.

use super::{MicroBatch, Objective, Part, Weight};
use crate::{Batch, Decoder, Result};

/// Supervised fine-tuning, and pre-training: the mean negative log-probability of the supervised tokens of the
/// whole optimiser batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sft;

impl Objective for Sft {
    fn weight(&self, batch: &Batch) -> Weight {
        Weight { tokens: batch.supervised().len(), examples: batch.documents() }
    }

    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, step: Weight) -> Result<Part> {
        let logprobs = decoder.logprobs(&micro_batch.batch)?;
        Ok((logprobs.values.sum_all()? * (-1.0 / step.tokens as f64))?.into())
    }

    fn identity(&self) -> Result<String> {
        Ok("sft".into())
    }
}
