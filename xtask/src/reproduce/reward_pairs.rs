//! The pairs of a reward model.

use janus_core::PairRecord;

/// Pairs to train a reward model on, and pairs to measure its rewards on.
pub struct RewardPairs {
    /// Pairs to train on.
    pub train: Vec<PairRecord>,
    /// Pairs for the mean and standard deviation of rewards.
    pub held_out: Vec<PairRecord>,
}

impl RewardPairs {
    /// Holds out the last `held_out` pairs, but at most half of all.
    pub fn split(mut pairs: Vec<PairRecord>, held_out: usize) -> Self {
        let held_out = pairs.split_off(pairs.len() - held_out.min(pairs.len() / 2));
        Self { train: pairs, held_out }
    }

    /// Adds the pairs of another set.
    pub fn and(mut self, other: Self) -> Self {
        self.train.extend(other.train);
        self.held_out.extend(other.held_out);
        self
    }
}
