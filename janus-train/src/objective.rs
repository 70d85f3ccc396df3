//! What is minimised.

use candle_core::Tensor;

use crate::{Batch, Decoder, Result};

/// A micro-batch and where its documents come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroBatch {
    /// The packed documents; those of one example stand together.
    pub batch: Batch,
    /// Index of each document in the rows that the trainer was given.
    pub rows: Vec<usize>,
}

/// A loss over documents.
///
/// A step's loss is a weighted mean over all its micro-batches: each contributes its *sum* divided by the
/// weight of the *whole* step. So a step gives the same gradient however it is cut into micro-batches.
pub trait Objective {
    /// Documents that make one example and must stand in one micro-batch: 1 here, 2 for pairs.
    fn documents_per_example(&self) -> usize {
        1
    }

    /// What the loss of these documents is averaged over: supervised tokens, or pairs.
    fn weight(&self, batch: &Batch) -> usize;

    /// The micro-batch's part of the step's loss, a scalar: its sum over what [`weight`](Self::weight) counts,
    /// divided by `step_weight`, which is the weight of all of the step's micro-batches.
    ///
    /// # Errors
    /// If the model cannot compute it.
    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, step_weight: usize) -> Result<Tensor>;

    /// Whether the parameter of this name takes part. One that does must have a gradient.
    fn trains(&self, _parameter: &str) -> bool {
        true
    }
}

/// Supervised fine-tuning, and pre-training: the mean negative log-probability of the supervised tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sft;

impl Objective for Sft {
    fn weight(&self, batch: &Batch) -> usize {
        batch.supervised().len()
    }

    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, step_weight: usize) -> Result<Tensor> {
        let logprobs = decoder.logprobs(&micro_batch.batch)?;
        Ok((logprobs.values.sum_all()? * (-1.0 / step_weight as f64))?)
    }
}
