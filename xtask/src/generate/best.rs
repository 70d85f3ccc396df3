//! Choosing the best of several answers.

use std::path::{Path, PathBuf};

use janus_infer::{RewardEngine, RewardOptions};

use super::device;
use crate::command::{Blame as _, CommandError};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Best of N")]
pub(crate) struct BestArgs {
    /// Draw N answers and give the one that --reward-model likes best, the first of equals
    #[arg(long, value_name = "N", requires = "reward_model")]
    best_of: Option<usize>,
    /// Folder of a reward model: config.json, safetensors, tokenizer.json, tokenizer_config.json, and its head in
    /// value_head.safetensors (as `train` writes it) or as value_head.weight among the weights (OpenRLHF)
    #[arg(long, value_name = "PATH", requires = "best_of")]
    reward_model: Option<PathBuf>,
}

impl BestArgs {
    /// Answers to draw; none if all that are drawn are given.
    pub(crate) fn n(&self) -> Option<usize> {
        self.best_of
    }

    /// Where the reward model is.
    pub(crate) fn reward_model(&self) -> Option<&Path> {
        self.reward_model.as_deref()
    }

    /// The reward model, if one is asked for.
    pub(crate) fn load(&self) -> Result<Option<RewardEngine>, CommandError> {
        let load = |path: &Path| RewardEngine::load(path, &device()?, RewardOptions::default()).bad_input();
        self.reward_model().map(load).transpose()
    }
}
