//! Recipes: what a training run is, as a TOML file writes it.

use std::path::{Path, PathBuf};

use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use janus_infer::ModelConfig;
use janus_train::{LoraConfig, NllSpan, Order, TrainConfig};
use serde::Deserialize;

use super::settings::Train;
use super::shape::Shape;
use crate::command::{Blame as _, CommandError};

/// A recipe. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The layout of every prompt.
    pub template: ChatTemplate,
    /// What is minimised, with its constants.
    pub objective: Kind,
    /// The model to start from.
    pub model: Model,
    /// What it is trained on.
    pub data: Data,
    /// How.
    pub train: Train,
    /// Low-rank updates in the place of the weights.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
    /// Answers to look at, written at every evaluation.
    #[serde(default)]
    pub samples: Option<Samples>,
}

/// The objective, by `kind`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Kind {
    /// Supervised fine-tuning.
    Sft {},
    /// Direct preference optimisation; the reference is the model that training starts from.
    Dpo {
        /// How strongly the model is held to the reference.
        beta: f64,
        /// Probability that a pair's order is wrong.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// Odds-ratio preference optimisation.
    Orpo {
        /// Weight of the odds ratio.
        lambda: f64,
        /// What the imitation term covers: `response` or `row`.
        #[serde(default)]
        nll: NllSpan,
    },
    /// A reward model; a value head is added to a model that has none.
    Reward {
        /// Weight of imitating the chosen responses beside it.
        #[serde(default)]
        imitation: f64,
    },
}

/// The model to start from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A folder with `config.json`, weights and `tokenizer.json`; none: fresh weights of `shape`.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// The shape, for a plan before the folder is there, and for fresh weights.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// A `tokenizer.json` elsewhere than in the folder.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
}

/// What the model is trained on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The records: rows of {system, prompt, output} for `sft`, of {system, prompt, chosen, rejected} for `dpo` and `orpo`, of
    /// either that or {input, chosen, rejected} for `reward`.
    pub path: PathBuf,
    /// Tokens of a row, at most: a longer conversation is left out, a longer pair's prompt is cut at its left.
    pub max_tokens: usize,
    /// Rows, or pairs, from the start that are held out.
    #[serde(default)]
    pub held_out: usize,
    /// Rows, or pairs, for a plan before the file is there.
    #[serde(default)]
    pub rows: Option<usize>,
    /// Mean tokens of a row, for a plan.
    #[serde(default)]
    pub tokens_per_row: Option<f64>,
}

/// Answers to look at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Questions.
    pub prompts: Vec<String>,
    /// System message before each.
    #[serde(default)]
    pub system: String,
    /// New tokens, at most.
    pub max_tokens: usize,
}

impl Recipe {
    /// Reads a recipe and sets keys of it, each as `a.b=value` with a TOML value, or a bare word as a string.
    ///
    /// # Errors
    /// Bad input that names the file and the key.
    pub fn load(path: &Path, set: &[String]) -> Result<Self, CommandError> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| CommandError::bad_input(format!("{place}: {error}")))?;
        let bad = |error: toml::de::Error| CommandError::bad_input(format!("{place}: {}", error.to_string().trim()));
        // The text as it stands first: its errors show the line.
        let recipe: Self = toml::from_str(&text).map_err(bad)?;
        if set.is_empty() {
            return recipe.checked(&place.to_string());
        }
        let mut table: toml::Table = toml::from_str(&text).map_err(bad)?;
        for assignment in set {
            let wrong = |why: &str| CommandError::bad_input(format!("--set {assignment}: {why}"));
            let (key, value) = assignment.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE"))?;
            let value = match toml::from_str::<toml::Table>(&format!("value = {value}")) {
                Ok(mut table) => table.remove("value").unwrap_or_else(|| toml::Value::String(value.into())),
                Err(_) => toml::Value::String(value.into()),
            };
            let mut keys: Vec<&str> = key.split('.').collect();
            let last = keys.pop().filter(|last| !last.is_empty()).ok_or_else(|| wrong("the key is empty"))?;
            let mut inner = &mut table;
            for key in keys {
                let entry = inner.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                inner = entry.as_table_mut().ok_or_else(|| wrong("a part of the key is no table"))?;
            }
            inner.insert(last.into(), value);
        }
        let place = format!("{place} with {}", set.join(" "));
        let recipe =
            table.try_into().map_err(|error: toml::de::Error| CommandError::bad_input(format!("{place}: {}", error.to_string().trim())));
        recipe.and_then(|recipe: Self| recipe.checked(&place))
    }

    /// Refuses numbers of the wrong unit, which would train nothing or something else.
    fn checked(self, place: &str) -> Result<Self, CommandError> {
        let train = &self.train;
        let wrong = match (train.warmup_ratio, train.settings.warmup_steps) {
            _ if train.epochs == 0 => Some("train.epochs is 0: expected passes over the rows, at least 1".into()),
            (Some(ratio), _) if !(0.0..=1.0).contains(&ratio) => {
                Some(format!("train.warmup_ratio is {ratio}: expected a share of the steps, 0 to 1"))
            }
            (Some(_), 1..) => Some("train.warmup_steps and train.warmup_ratio are both set: expected one of them".into()),
            _ => None,
        };
        match wrong {
            Some(reason) => Err(CommandError::bad_input(format!("{place}: {reason}"))),
            None => Ok(self),
        }
    }

    /// The model's architecture: that of its folder if it is there, else that of its shape.
    ///
    /// # Errors
    /// Bad input if there is neither.
    pub fn model_config(&self) -> Result<ModelConfig, CommandError> {
        let folder = self.model.path.as_ref().map(|path| path.join("config.json"));
        match (folder, self.model.shape) {
            (Some(file), shape) if file.exists() || shape.is_none() => ModelConfig::read(file).bad_input(),
            (_, Some(shape)) => Ok(shape.config()),
            (_, None) => Err(CommandError::bad_input("the recipe's [model] has neither path nor shape")),
        }
    }

    /// The tokenizer, which must fit the embedding.
    ///
    /// # Errors
    /// Bad input if it is not there or has more tokens than the model.
    pub fn tokenizer(&self, config: &ModelConfig) -> Result<Tokenizer, CommandError> {
        let beside = self.model.path.as_ref().map(|path| path.join("tokenizer.json"));
        let Some(path) = self.model.tokenizer.clone().or(beside) else {
            return Err(CommandError::bad_input("the recipe's [model] has neither path nor tokenizer"));
        };
        let tokenizer = Tokenizer::read(&path).bad_input()?;
        if tokenizer.vocab_size() > config.vocab_size {
            let (tokens, rows) = (tokenizer.vocab_size(), config.vocab_size);
            let reason = format!("{}: {tokens} tokens, but the model's embedding has {rows} rows", path.display());
            return Err(CommandError::bad_input(reason));
        }
        Ok(tokenizer)
    }

    /// The trainer's settings for examples of these lengths.
    ///
    /// # Errors
    /// Bad input for an example that does not fit.
    pub fn settings(&self, lengths: Vec<usize>) -> Result<TrainConfig, CommandError> {
        let Train { epochs, settings, .. } = &self.train;
        let order = Order::new(settings.seed, settings.tokens_per_micro_batch, lengths).bad_input()?;
        let order = order.with_examples(settings.examples_per_micro_batch.unwrap_or(usize::MAX));
        let steps = order.micro_batches(*epochs).div_ceil(settings.accumulation.max(1) as u64);
        Ok(self.settings_for(steps))
    }

    /// The trainer's settings for so many steps.
    pub(super) fn settings_for(&self, steps: u64) -> TrainConfig {
        let Train { warmup_ratio, settings, .. } = &self.train;
        // As OpenRLHF rounds it.
        let warmup_steps = warmup_ratio.map_or(settings.warmup_steps, |ratio| (ratio * steps as f64).ceil() as u64);
        TrainConfig { steps, warmup_steps, ..settings.clone() }
    }

    /// Documents of an example.
    pub(super) fn documents_per_example(&self) -> usize {
        if matches!(self.objective, Kind::Sft {}) { 1 } else { 2 }
    }
}
