//! Training objectives: the losses that are minimised.
//!
//! An objective is one implementation of [`Objective`]. It reads log-probabilities of tokens
//! ([`Decoder::logprobs`], [`Decoder::logprobs_at`]) or values of documents ([`Decoder::values`]),
//! reduces them to a scalar with candle's operations or those of [`ops`](crate::ops), and states what
//! the scalar is a mean over.

mod dpo;
mod orpo;
pub mod pairs;
mod reference;
mod reward;
mod sft;

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use candle_core::Tensor;
use janus_data::Dataset;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Batch, Decoder, Result, RewardScale};

pub use dpo::{Dpo, DpoConfig};
pub use orpo::{NllSpan, Orpo};
pub use reference::Reference;
pub use reward::Reward;
pub use sft::Sft;

/// A micro-batch, with the dataset rows of its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroBatch {
    /// The packed documents; the documents of one example are adjacent.
    pub batch: Batch,
    /// Index of each document in its dataset: the training rows, or the held-out rows in an evaluation.
    pub rows: Vec<usize>,
}

impl MicroBatch {
    /// Reads rows of a dataset.
    pub(crate) fn read(dataset: &dyn Dataset, rows: Vec<usize>) -> Result<Self> {
        let documents = rows.iter().map(|&row| dataset.row(row)).collect::<janus_data::Result<Vec<_>>>()?;
        Ok(Self { batch: Batch::concat(&documents.iter().map(|row| &**row).collect::<Vec<_>>()), rows })
    }
}

/// What a loss is averaged over. The denominators of a step's micro-batches are added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossDenominator {
    /// Supervised tokens.
    pub tokens: usize,
    /// Examples: documents, or pairs of them.
    pub examples: usize,
}

impl Add for LossDenominator {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, examples: self.examples + other.examples }
    }
}

impl AddAssign for LossDenominator {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for LossDenominator {
    fn sum<I: Iterator<Item = Self>>(weights: I) -> Self {
        weights.fold(Self::default(), Self::add)
    }
}

/// Metrics of a step, by their names in `metrics.jsonl`: `accuracy`, `margin`.
pub type Metrics = BTreeMap<&'static str, f64>;

/// The result of [`Objective::loss`] for one micro-batch. Its values are added over the step's
/// micro-batches.
#[derive(Debug, Clone)]
pub struct LossOutput {
    /// This micro-batch's share of the step's loss, a scalar.
    pub loss: Tensor,
    /// This micro-batch's share of the step's other metrics, which are means as well.
    pub metrics: Metrics,
}

impl From<Tensor> for LossOutput {
    fn from(loss: Tensor) -> Self {
        Self { loss, metrics: Metrics::new() }
    }
}

/// A head of the decoder: a function of its last hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Head {
    /// Logits of the next token: `lm_head.weight`, or the embedding if the two are tied.
    LanguageModel,
    /// The value of a document: [`VALUE_HEAD`](crate::VALUE_HEAD).
    Value,
}

impl Head {
    pub(crate) const ALL: [Self; 2] = [Self::LanguageModel, Self::Value];

    /// The weight that only this head uses.
    pub(crate) fn weight(self) -> &'static str {
        match self {
            Self::LanguageModel => "lm_head.weight",
            Self::Value => crate::VALUE_HEAD,
        }
    }
}

/// A loss over documents.
///
/// A step's loss is a mean over all its micro-batches: each contributes its *sum* divided by the
/// denominator of the *whole* step. So the gradient of a step does not depend on how the step is split
/// into micro-batches.
///
/// ```
/// use janus_train::{Batch, Decoder, MicroBatch, Objective, LossOutput, Result, LossDenominator};
///
/// /// Supervised fine-tuning in which every document counts the same, however long it is.
/// struct DocumentMean;
///
/// impl Objective for DocumentMean {
///     fn denominator(&self, batch: &Batch) -> LossDenominator {
///         LossDenominator { tokens: batch.supervised().len(), examples: batch.documents() }
///     }
///     fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, denominator: LossDenominator) -> Result<LossOutput> {
///         let logprobs = decoder.logprobs(&micro_batch.batch)?;
///         let of_document = logprobs.mean_by_document(&micro_batch.batch)?;
///         Ok((of_document.sum_all()? * (-1.0 / denominator.examples as f64))?.into())
///     }
///     fn identity(&self) -> Result<serde_json::Value> {
///         Ok("document mean".into())
///     }
/// }
/// ```
pub trait Objective {
    /// Documents in one example, which are always in the same micro-batch: 1 by default, 2 for pairs.
    fn documents_per_example(&self) -> usize {
        1
    }

    /// What the loss of these documents is averaged over.
    fn denominator(&self, batch: &Batch) -> LossDenominator;

    /// The micro-batch's share of the step's loss and metrics: sums over the tokens or examples that
    /// [`denominator`](Self::denominator) counts, divided by the argument `denominator`, which is the
    /// denominator of the whole step (the sum over its micro-batches).
    ///
    /// # Errors
    /// If the model cannot compute it.
    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput>;

    /// The heads that the loss reads. The [`Trainer`](crate::Trainer) freezes the model's other heads;
    /// every remaining trainable weight must get a gradient.
    fn heads(&self) -> &[Head] {
        &[Head::LanguageModel]
    }

    /// Checks that the objective can be computed on these rows. It is called before training, once with
    /// the training rows and once with the held-out rows if there are any.
    ///
    /// # Errors
    /// The reason why it cannot be computed, with the row.
    fn check(&self, _decoder: &Decoder, _rows: &dyn Dataset) -> Result<()> {
        Ok(())
    }

    /// The objective's name and every constant that its loss depends on, as JSON. It is stored in
    /// checkpoints, and a run resumes only if it is equal. Two objectives with different losses must
    /// have different identities.
    ///
    /// # Errors
    /// If it cannot be computed, for example because the weights of a reference model cannot be read.
    fn identity(&self) -> Result<Value>;

    /// The scale of a reward model's rewards, from its metrics over the held-out rows. It is saved with
    /// the evaluated model.
    fn reward_scale(&self, _metrics: &Metrics) -> Option<RewardScale> {
        None
    }
}

/// An objective that is chosen at run time.
impl<O: Objective + ?Sized> Objective for Box<O> {
    fn documents_per_example(&self) -> usize {
        (**self).documents_per_example()
    }

    fn denominator(&self, batch: &Batch) -> LossDenominator {
        (**self).denominator(batch)
    }

    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        (**self).loss(decoder, micro_batch, denominator)
    }

    fn heads(&self) -> &[Head] {
        (**self).heads()
    }

    fn check(&self, decoder: &Decoder, rows: &dyn Dataset) -> Result<()> {
        (**self).check(decoder, rows)
    }

    fn identity(&self) -> Result<Value> {
        (**self).identity()
    }

    fn reward_scale(&self, metrics: &Metrics) -> Option<RewardScale> {
        (**self).reward_scale(metrics)
    }
}
