//! How answers are sampled, and how the best of several is chosen.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{ChatTemplate, SamplingParams};
use janus_data::fs::fingerprint;
use janus_infer::{RewardEngine, RewardOptions};
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Maximum number of new tokens
    #[arg(long)]
    max_tokens: Option<usize>,
    /// Divides the logits; 0 takes the most likely token
    #[arg(long)]
    temperature: Option<f64>,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all
    #[arg(long)]
    top_p: Option<f64>,
    /// Keep the k most likely tokens; 0 keeps all
    #[arg(long)]
    top_k: Option<usize>,
    /// Makes tokens that occurred before less likely; 1 changes nothing
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// Seed of the run
    #[arg(long)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// The parameters for `n` answers; those that are not given are the paper's.
    pub(crate) fn resolve(&self, n: Option<usize>) -> Result<SamplingParams, CommandError> {
        self.over(&SamplingParams::paper(), n)
    }

    /// The given parameters, with the rest from `others`.
    pub(super) fn over(
        &self,
        others: &SamplingParams,
        n: Option<usize>,
    ) -> Result<SamplingParams, CommandError> {
        let sampling = SamplingParams {
            n: n.unwrap_or(others.n),
            max_tokens: self.max_tokens.unwrap_or(others.max_tokens),
            temperature: self.temperature.unwrap_or(others.temperature),
            top_p: self.top_p.unwrap_or(others.top_p),
            top_k: self.top_k.unwrap_or(others.top_k),
            repetition_penalty: self.repetition_penalty.unwrap_or(others.repetition_penalty),
            seed: self.seed.unwrap_or(others.seed),
            ..others.clone()
        };
        sampling.validate().bad_input()?;
        Ok(sampling)
    }

    /// Names of the parameters that were given, without the seed, which belongs to a run.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let all = [
            ("max_tokens", self.max_tokens.is_some()),
            ("temperature", self.temperature.is_some()),
            ("top_p", self.top_p.is_some()),
            ("top_k", self.top_k.is_some()),
            ("repetition_penalty", self.repetition_penalty.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Best of N")]
pub(crate) struct BestArgs {
    /// Sample N answers and keep the one with the highest reward by --reward-model
    #[arg(long, value_name = "N", requires = "reward_model")]
    best_of: Option<usize>,
    /// Folder of a reward model: config.json, safetensors, tokenizer.json, tokenizer_config.json, and
    /// its head in value_head.safetensors (as `train` writes it) or among the weights, by the config's
    /// value_head_prefix (OpenRLHF)
    #[arg(long, value_name = "PATH", requires = "best_of")]
    reward_model: Option<PathBuf>,
    /// Chat template of the reward model, instead of its own: mistral-instruct or chatml
    #[arg(long, value_name = "NAME", requires = "reward_model")]
    reward_template: Option<ChatTemplate>,
}

impl BestArgs {
    /// The number of candidates; `None` without a reward model.
    pub(crate) fn n(&self) -> Option<usize> {
        self.best_of
    }

    /// What the choice depends on, for the settings of a run; `None` without a reward model.
    pub(super) fn identity(&self) -> Result<Option<Value>, CommandError> {
        let identity = |path: &PathBuf| {
            Ok(json!({ "model": fingerprint::of_path(path).bad_input()?, "template": self.reward_template }))
        };
        self.reward_model.as_ref().map(identity).transpose()
    }

    /// Loads the reward model, if one is given.
    pub(crate) fn load(&self, device: &Device) -> Result<Option<RewardEngine>, CommandError> {
        self.reward_model.as_ref().map(|path| load_reward(path, self.reward_template, device)).transpose()
    }
}

/// Loads a reward model from its folder, with its own chat template unless another is given.
pub(crate) fn load_reward(
    path: &Path,
    template: Option<ChatTemplate>,
    device: &Device,
) -> Result<RewardEngine, CommandError> {
    let options = RewardOptions::default().with(|options| options.template = template);
    RewardEngine::load(path, device, options).bad_input()
}
