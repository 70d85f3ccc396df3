//! Choosing the best of several answers.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::ChatTemplate;
use janus_data::fs::fingerprint;
use janus_infer::{RewardEngine, RewardOptions};
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Best of N")]
pub(crate) struct BestArgs {
    /// Draw N answers and give the one that --reward-model likes best, the first of equals
    #[arg(long, value_name = "N", requires = "reward_model")]
    best_of: Option<usize>,
    /// Folder of a reward model: config.json, safetensors, tokenizer.json, tokenizer_config.json, and its head in
    /// value_head.safetensors (as `train` writes it) or among the weights, by the config's value_head_prefix (OpenRLHF)
    #[arg(long, value_name = "PATH", requires = "best_of")]
    reward_model: Option<PathBuf>,
    /// Chat template of the reward model in place of its own: mistral-instruct or chatml
    #[arg(long, value_name = "NAME", requires = "reward_model")]
    reward_template: Option<ChatTemplate>,
}

impl BestArgs {
    /// Answers to draw; none if all that are drawn are given.
    pub(crate) fn n(&self) -> Option<usize> {
        self.best_of
    }

    /// What a choice depends on, for a run's header; none if there is none.
    pub(super) fn identity(&self) -> Result<Option<Value>, CommandError> {
        let identity = |path: &PathBuf| Ok(json!({ "model": fingerprint::of_path(path).bad_input()?, "template": self.reward_template }));
        self.reward_model.as_ref().map(identity).transpose()
    }

    /// The reward model, if one is asked for.
    pub(crate) fn load(&self, device: &Device) -> Result<Option<RewardEngine>, CommandError> {
        self.reward_model.as_ref().map(|path| load_reward(path, self.reward_template, device)).transpose()
    }
}

/// A reward model from its folder, with its own template if none is given.
pub(crate) fn load_reward(path: &Path, template: Option<ChatTemplate>, device: &Device) -> Result<RewardEngine, CommandError> {
    let options = RewardOptions { template, ..RewardOptions::default() };
    RewardEngine::load(path, device, options).bad_input()
}
