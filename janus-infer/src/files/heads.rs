//! The value head of a reward model, and the scale of its rewards.

use serde::{Deserialize, Serialize};

/// The default name of the value head's weight, `[1, hidden]`.
pub const VALUE_HEAD: &str = "value_head.weight";

/// The value head of a reward model: its dot product with the hidden state of a token is the reward.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValueHead {
    /// The weights, `[hidden]`.
    pub values: Vec<f32>,
    /// The layout that is used by the program which stores a head in that place.
    pub layout: RewardLayout,
}

/// How a conversation becomes tokens; the reward is the value at the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RewardLayout {
    /// The whole conversation as the chat template renders it. `janus-train` trains with it.
    Conversation,
    /// The prompt, the response without leading and trailing whitespace, one space, and the end-of-text
    /// token. OpenRLHF uses it, and with it the paper's reward model. Nothing is truncated: a
    /// conversation that is too long is refused.
    OpenRlhf,
}

/// Mean and standard deviation of a reward model's rewards on held-out rows: `mean` and `std` of its
/// `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RewardScale {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
}

impl RewardScale {
    /// `(reward - mean) / std`, or `reward - mean` if `std` is 0.
    pub fn apply(&self, reward: f32) -> f32 {
        let std = if self.std > 0.0 { self.std } else { 1.0 };
        ((f64::from(reward) - self.mean) / std) as f32
    }
}
