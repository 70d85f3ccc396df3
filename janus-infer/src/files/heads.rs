//! The head of a reward model, and the scale of its rewards.

use serde::{Deserialize, Serialize};

/// Name of the value head's weight, `[1, hidden]`, where no other is stated.
pub const VALUE_HEAD: &str = "value_head.weight";

/// The head of a reward model: one row, whose product with a token's hidden state is the reward.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValueHead {
    /// `[hidden]`.
    pub values: Vec<f32>,
    /// The layout of whoever writes a head where this one was.
    pub layout: RewardLayout,
}

/// The tokens that a reward is read after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RewardLayout {
    /// The whole conversation as the chat template renders it; the reward is read at its last token. How `janus-train`
    /// trains.
    Conversation,
    /// The prompt, the response without outer spaces, one space, and the end-of-text token, at which the reward is read
    /// (OpenRLHF, as the reference trains and reads its reward model). Nothing is cut: what is too long is refused.
    OpenRlhf,
}

/// Mean and standard deviation of a reward model's rewards on rows that it was not trained on: `mean` and `std` of
/// its `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RewardScale {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
}

impl RewardScale {
    /// `(reward - mean) / std`; a deviation of 0 divides by 1.
    pub fn apply(&self, reward: f32) -> f32 {
        let std = if self.std > 0.0 { self.std } else { 1.0 };
        ((f64::from(reward) - self.mean) / std) as f32
    }
}
