//! What is minimised.
//!
//! An objective is one implementation of [`Objective`]: it reads log-probabilities of tokens
//! ([`Decoder::logprobs`], [`Decoder::logprobs_at`]) or values of documents ([`Decoder::values`]), makes a scalar of them
//! in candle's operations or in those of [`ops`](crate::ops), and says what it is a mean over.

mod dpo;
mod orpo;
mod pairs;
mod reward;
mod sft;

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use candle_core::Tensor;
use janus_data::Dataset;

use crate::{Batch, Decoder, Result};

pub use dpo::{Dpo, DpoConfig, Reference};
pub use orpo::{NllSpan, Orpo};
pub use reward::Reward;
pub use sft::Sft;

/// A micro-batch and where its documents come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroBatch {
    /// The packed documents; those of one example stand together.
    pub batch: Batch,
    /// Index of each document in the rows that the trainer was given.
    pub rows: Vec<usize>,
}

impl MicroBatch {
    /// Reads rows of a dataset.
    pub(crate) fn read(dataset: &dyn Dataset, rows: Vec<usize>) -> Result<Self> {
        let documents = rows.iter().map(|&row| dataset.row(row)).collect::<janus_data::Result<Vec<_>>>()?;
        Ok(Self { batch: Batch::concat(&documents.iter().map(|row| &**row).collect::<Vec<_>>()), rows })
    }
}

/// What a loss is averaged over. Weights of micro-batches add up to the weight of their step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Supervised tokens.
    pub tokens: usize,
    /// Examples: documents, or pairs of them.
    pub examples: usize,
}

impl Add for Weight {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, examples: self.examples + other.examples }
    }
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(weights: I) -> Self {
        weights.fold(Self::default(), Self::add)
    }
}

/// Figures of a step by name, as `metrics.jsonl` shows them: `accuracy`, `margin`.
pub type Figures = BTreeMap<&'static str, f64>;

/// A micro-batch's part of its step: everything in it adds up over the step's micro-batches.
#[derive(Debug, Clone)]
pub struct Part {
    /// The part of the loss, a scalar.
    pub loss: Tensor,
    /// The parts of other means that are worth showing.
    pub figures: Figures,
}

impl From<Tensor> for Part {
    fn from(loss: Tensor) -> Self {
        Self { loss, figures: Figures::new() }
    }
}

/// A loss over documents.
///
/// A step's loss is a weighted mean over all its micro-batches: each contributes its *sum* divided by the
/// weight of the *whole* step. So a step gives the same gradient however it is cut into micro-batches.
///
/// ```
/// use janus_train::{Batch, Decoder, MicroBatch, Objective, Part, Result, Weight};
///
/// /// Supervised fine-tuning in which every document counts the same, however long it is.
/// struct DocumentMean;
///
/// impl Objective for DocumentMean {
///     fn weight(&self, batch: &Batch) -> Weight {
///         Weight { tokens: batch.supervised().len(), examples: batch.documents() }
///     }
///     fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, step: Weight) -> Result<Part> {
///         let logprobs = decoder.logprobs(&micro_batch.batch)?;
///         let of_document = logprobs.mean_by_document(&micro_batch.batch)?;
///         Ok((of_document.sum_all()? * (-1.0 / step.examples as f64))?.into())
///     }
///     fn identity(&self) -> Result<String> {
///         Ok("document mean".into())
///     }
/// }
/// ```
pub trait Objective {
    /// Documents that make one example and must stand in one micro-batch: 1 here, 2 for pairs.
    fn documents_per_example(&self) -> usize {
        1
    }

    /// What the loss of these documents is averaged over.
    fn weight(&self, batch: &Batch) -> Weight;

    /// The micro-batch's part of the step's loss and figures: sums over what [`weight`](Self::weight) counts, divided
    /// by `step`, which is the weight of all of the step's micro-batches.
    ///
    /// # Errors
    /// If the model cannot compute it.
    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, step: Weight) -> Result<Part>;

    /// Whether the parameter of this name takes part. One that does must have a gradient. A value head takes part in
    /// [`Reward`] only.
    fn trains(&self, parameter: &str) -> bool {
        parameter != crate::VALUE_HEAD
    }

    /// Whether the objective can be computed on these rows; called before training, once with the rows to train on and once
    /// with the held-out ones if there are any.
    ///
    /// # Errors
    /// What does not fit, with its row.
    fn check(&self, _decoder: &Decoder, _rows: &dyn Dataset) -> Result<()> {
        Ok(())
    }

    /// Name and every constant that the loss depends on. A run continues only with the same, so two objectives that differ in
    /// anything must not give the same text.
    ///
    /// # Errors
    /// If it cannot be told, as when the weights of a reference model cannot be read.
    fn identity(&self) -> Result<String>;

    /// Called with the loss and figures over the held-out rows whenever they were measured.
    fn evaluated(&self, _decoder: &mut Decoder, _figures: &Figures) {}
}
