//! Profiles of a reproduction: the sizes of its data, model and training.

use std::path::Path;

use janus_core::ChatTemplate;
use janus_eval::stats::Bootstrap;
use janus_infer::{ModelConfig, ModelSizes};
use janus_train::TrainConfig;
use janus_train::recipe::at_line;
use serde::{Deserialize, Serialize};

use crate::command::{CommandError, read_text};

/// The chat template of every prompt of the experiment.
pub const TEMPLATE: ChatTemplate = ChatTemplate::MistralInstruct;

/// A profile, in the layout of its TOML file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Amount of Mini's data.
    pub data: Data,
    /// The tokenizer that is trained on it.
    pub tokenizer: TokenizerSize,
    /// The decoder's sizes.
    pub model: ModelSize,
    /// Training of the base model on plain text.
    pub pretrain: TrainConfig,
    /// Fine-tuning; the same for every model.
    pub sft: TrainConfig,
    /// Pairs of responses.
    pub pairs: Pairs,
    /// Direct preference optimisation, from `janus-star`.
    pub dpo: TrainConfig,
    /// Odds-ratio preference optimisation, from the base model.
    pub orpo: TrainConfig,
    /// The reward model's first stage, on Mini's pairs.
    pub reward: TrainConfig,
    /// Its second stage, on pairs of general helpfulness, pairs of graded answers, and some of Mini's
    /// pairs again.
    pub helpful: TrainConfig,
    /// The answers that are graded for the second stage.
    pub graded: Graded,
    /// Best-of-N sampling with the reward model.
    pub best_of_n: BestOfN,
    /// Generation of the answers to the judged questions.
    pub answer: Answer,
    /// Bootstrap intervals.
    pub statistics: Statistics,
}

/// Amount of Mini's data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Plain articles for the base model.
    pub documents: usize,
    /// Rows of each fine-tuning set.
    pub rows: usize,
    /// Judged questions, each with three system messages.
    pub instructions: usize,
    /// Every n-th row has the plain system message, in every set.
    pub plain_every: usize,
    /// Numbers of different training system messages, in rising order. The model with one message for
    /// each row is trained in addition.
    pub distinct: Vec<usize>,
}

/// The tokenizer that is trained on Mini.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSize {
    /// Maximum number of entries.
    pub vocab_size: usize,
}

/// The decoder's sizes, under their names in `config.json`. [`ModelConfig`] describes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSize {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub max_position_embeddings: usize,
}

/// Pairs of responses, and the hyper-parameters of the objectives that learn from them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// Pairs with system messages.
    pub count: usize,
    /// Pairs of general helpfulness, without a system message.
    pub helpful: usize,
    /// Pairs with system messages that the reward model's second stage repeats.
    pub again: usize,
    /// Further pairs of each kind, to measure the mean and standard deviation of the rewards.
    pub held_out: usize,
    /// DPO's inverse temperature.
    pub beta: f64,
    /// ORPO's weight of the odds ratio.
    pub lambda: f64,
    /// The weight of the imitation (SFT) loss on chosen responses in the reward model's objective.
    pub imitation: f64,
}

/// Answers of the reward model's backbone to rows of the train split. They are graded, and paired by
/// their grades.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graded {
    /// Instructions, each with three system messages.
    pub instructions: usize,
    /// Answers to each prompt.
    pub n: usize,
    /// Temperature of sampling.
    pub temperature: f64,
    /// Top-p of sampling.
    pub top_p: f64,
}

/// Best-of-N sampling.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestOfN {
    /// Values of N, in rising order from 1.
    pub n: Vec<usize>,
    /// Temperature of sampling.
    pub temperature: f64,
    /// Top-p of sampling.
    pub top_p: f64,
}

/// Answers to the judged questions; decoding is greedy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Maximum number of new tokens.
    pub max_tokens: usize,
    /// Sequences in a batch.
    pub max_sequences: usize,
}

/// Bootstrap intervals.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Resamples of the judged questions.
    pub resamples: usize,
    /// Confidence level of the intervals.
    pub level: f64,
}

impl Statistics {
    /// The bootstrap for every interval.
    pub fn bootstrap(&self, seed: u64) -> Bootstrap {
        Bootstrap { resamples: self.resamples, level: self.level, seed, ..Bootstrap::default() }
    }
}

impl Profile {
    /// A named profile (`mini`, `smoke`), or the one in a `.toml` file.
    pub fn load(name: &str) -> Result<Self, CommandError> {
        let (place, text) = match name {
            "mini" => ("profile mini".to_string(), include_str!("../../profiles/mini.toml").to_string()),
            "smoke" => ("profile smoke".to_string(), include_str!("../../profiles/smoke.toml").to_string()),
            path if path.ends_with(".toml") => (path.to_string(), read_text(path.as_ref())?),
            other => {
                return Err(CommandError::bad_input(format!(
                    "unknown profile \"{other}\": expected mini, smoke or a .toml file"
                )));
            }
        };
        let bad = |reason: String| CommandError::bad_input(format!("{place}: {reason}"));
        let profile: Self = toml::from_str(&text).map_err(|error: toml::de::Error| {
            CommandError::bad_input(format!("{}: {}", at_line(&place, &text, error.span()), error.message()))
        })?;
        let Self { data, pairs, graded, best_of_n: BestOfN { n, .. }, .. } = &profile;
        let rises = |numbers: &[usize]| numbers.windows(2).all(|pair| pair[0] < pair[1]);
        let at_least_one = [
            (
                "data.instructions, data.rows and data.documents",
                [data.instructions, data.rows, data.documents].contains(&0),
            ),
            ("data.plain_every", data.plain_every == 0),
            (
                "pairs.count, pairs.helpful, pairs.again and pairs.held_out",
                [pairs.count, pairs.helpful, pairs.again, pairs.held_out].contains(&0),
            ),
            ("graded.instructions and graded.n", [graded.instructions, graded.n].contains(&0)),
        ];
        if let Some((what, _)) = at_least_one.into_iter().find(|(_, wrong)| *wrong) {
            return Err(bad(format!("{what} must be at least 1")));
        }
        if data.distinct.first().is_none_or(|first| *first == 0) || !rises(&data.distinct) {
            return Err(bad(format!(
                "data.distinct is {:?}: expected rising numbers of at least 1",
                data.distinct
            )));
        }
        if n.len() < 2 || n[0] != 1 || !rises(n) {
            return Err(bad(format!("best_of_n.n is {n:?}: expected two or more numbers that rise from 1")));
        }
        Ok(profile)
    }

    /// The profile's name in the run folder: for a path, the name of the file.
    pub fn short_name(name: &str) -> String {
        Path::new(name).file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy().into_owned())
    }

    /// The decoder's `config.json` for a vocabulary.
    pub fn model_config(&self, vocab_size: usize, bos: Option<u32>, eos: Option<u32>) -> ModelConfig {
        let size = &self.model;
        let mut config = ModelConfig::mistral(ModelSizes {
            vocab_size,
            hidden_size: size.hidden_size,
            intermediate_size: size.intermediate_size,
            num_hidden_layers: size.num_hidden_layers,
            num_attention_heads: size.num_attention_heads,
            num_key_value_heads: size.num_key_value_heads,
            max_position_embeddings: size.max_position_embeddings,
        });
        config.rms_norm_eps = 1e-5;
        config.tie_word_embeddings = true;
        // More than the usual 0.02, which suits models ten times as wide.
        config.initializer_range = 0.04;
        config.bos_token_id = bos;
        config.eos_token_ids = eos.into_iter().collect();
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_profiles_are_read() {
        for name in ["mini", "smoke"] {
            let profile = Profile::load(name).unwrap();
            assert!(profile.data.distinct[0] <= 16 && profile.data.distinct.len() >= 3);
            let config = profile.model_config(profile.tokenizer.vocab_size, Some(0), Some(1));
            assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
        }
    }

    #[test]
    fn an_unknown_key_or_profile_is_bad_input_that_names_it() {
        let error = Profile::load("maxi").unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("maxi"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let text = include_str!("../../profiles/smoke.toml").replace("vocab_size", "vocabsize");
        std::fs::write(&path, text).unwrap();
        let error = Profile::load(&path.to_string_lossy()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("mine.toml, line "), "{error}");
        assert!(error.to_string().contains("\": unknown field `vocabsize`, expected"), "{error}");
    }
}
