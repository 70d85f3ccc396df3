//! The value head of a reward model: one number for each document.

use candle_core::Tensor;
use janus_infer::{RewardScale, VALUE_HEAD};

use super::{Decoder, embedding, normal};
use crate::ops::linear;
use crate::{Batch, BatchProblem, Error, Result};

impl Decoder {
    /// Adds a fresh value head, drawn from N(0, 1 / (hidden + 1)²). It replaces an earlier one.
    ///
    /// # Errors
    /// If candle fails.
    pub fn with_value_head(mut self, seed: u64) -> Result<Self> {
        let hidden = self.config.hidden_size;
        let values = normal(seed, VALUE_HEAD, hidden, 1.0 / (hidden + 1) as f64);
        self.insert(VALUE_HEAD, &Tensor::from_vec(values, (1, hidden), &self.device)?)?;
        self.reward_scale = None;
        Ok(self)
    }

    /// Whether there is a value head.
    pub fn has_value_head(&self) -> bool {
        self.weights.contains_key(VALUE_HEAD)
    }

    /// The scale of the value head's rewards, if it was measured.
    pub fn reward_scale(&self) -> Option<RewardScale> {
        self.reward_scale
    }

    /// Sets the scale that is saved with the model.
    pub fn set_reward_scale(&mut self, scale: RewardScale) {
        self.reward_scale = Some(scale);
    }

    /// Removes the scale, because it does not hold for the weights that are set next.
    pub(crate) fn clear_reward_scale(&mut self) {
        self.reward_scale = None;
    }

    /// The value head's output at each document's last token, in f32 and unscaled: `[documents]`,
    /// differentiable.
    ///
    /// # Errors
    /// [`Error::NoHead`] without a value head, [`Error::Batch`] for an empty document; as
    /// [`hidden`](Self::hidden).
    pub fn values(&self, batch: &Batch) -> Result<Tensor> {
        self.values_of(&self.hidden(batch)?, batch)
    }

    /// [`values`](Self::values) from given hidden states.
    pub(crate) fn values_of(&self, hidden: &Tensor, batch: &Batch) -> Result<Tensor> {
        let head = self.weights.get(VALUE_HEAD).ok_or(Error::NoHead { name: VALUE_HEAD })?;
        if let Some(document) = batch.cu_seqlens.windows(2).position(|ends| ends[0] >= ends[1]) {
            return Err(BatchProblem::EmptyDocument { document }.into());
        }
        let last: Vec<u32> = batch.cu_seqlens[1..].iter().map(|end| end - 1).collect();
        let hidden = embedding(hidden, &last)?;
        Ok(linear(&hidden.to_dtype(candle_core::DType::F32)?, &head.to_dtype(candle_core::DType::F32)?)?
            .squeeze(1)?)
    }
}
