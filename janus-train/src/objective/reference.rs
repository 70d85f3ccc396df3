//! The reference model of an objective.

use candle_core::{Device, Tensor};
use janus_data::Dataset;
use serde_json::{Value, json};

use super::MicroBatch;
use crate::{Decoder, Error, ReferenceLogprobs, Result};

/// Where the log-probabilities of the reference model come from.
#[non_exhaustive]
pub enum Reference {
    /// Computed once, before training.
    Stored(ReferenceLogprobs),
    /// Computed in every step by this model: a [`copy`](Decoder::copy) of the trained model, or another
    /// model.
    Model(Box<Decoder>),
}

impl Reference {
    /// The log-probability of each document of a micro-batch under the reference model, summed over its
    /// supervised tokens: `[documents]`, in f32, on `device`.
    ///
    /// # Errors
    /// [`Error::NoReference`] for a document whose log-probability is not stored; if the model cannot compute
    /// it.
    pub fn logprobs(&self, micro_batch: &MicroBatch, device: &Device) -> Result<Tensor> {
        let batch = &micro_batch.batch;
        Ok(match self {
            Self::Stored(stored) => {
                let values: Vec<f32> = stored.of_batch(micro_batch)?.into_iter().map(|x| x as f32).collect();
                Tensor::from_vec(values, batch.documents(), device)?
            }
            Self::Model(model) => {
                model.detached()?.logprobs(batch)?.sum_by_document(batch)?.to_device(device)?
            }
        })
    }

    /// Refuses a reference that cannot be used with this decoder and these rows: for
    /// [`Objective::check`](super::Objective::check).
    ///
    /// # Errors
    /// [`Error::SharedReference`] for a model that shares a trainable weight with the decoder; as
    /// [`check_rows`](Self::check_rows).
    pub fn check(&self, decoder: &Decoder, rows: &dyn Dataset) -> Result<()> {
        if let Self::Model(model) = self
            && let Some(name) = decoder.trains_a_weight_of(model)
        {
            return Err(Error::SharedReference { name: name.into() });
        }
        self.check_rows(rows)
    }

    /// Refuses a reference that lacks one of these rows.
    ///
    /// # Errors
    /// [`Error::NoReference`] for a row that is not stored; [`Error::Data`] if a row cannot be read.
    pub fn check_rows(&self, rows: &dyn Dataset) -> Result<()> {
        match self {
            Self::Stored(stored) => stored.of_rows(rows).map(drop),
            Self::Model(_) => Ok(()),
        }
    }

    /// Hashes that identify the reference model: a part of
    /// [`Objective::identity`](super::Objective::identity).
    ///
    /// # Errors
    /// If the model's weights cannot be read.
    pub fn identity(&self) -> Result<Value> {
        Ok(match self {
            Self::Stored(stored) => stored.identity(),
            Self::Model(model) => json!({ "model": model.fingerprint()? }),
        })
    }
}
