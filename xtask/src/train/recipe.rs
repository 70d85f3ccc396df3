//! Recipes: what a training run is, as a TOML file writes it.

use std::path::{Path, PathBuf};

use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use janus_infer::ModelConfig;
use janus_train::{DpoConfig, LoraConfig, NllSpan, Order, Orpo, Reward, TrainConfig};
use serde::{Deserialize, Serialize};

use super::settings::Train;
use super::shape::Shape;
use crate::command::{Blame as _, CommandError};

/// A recipe. Unknown keys are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Answers to look at, written at every evaluation; where no rows are held out, at the end.
    #[serde(default)]
    pub samples: Option<Samples>,
}

/// The objective, by `kind`.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
        match self.mistake() {
            Some(reason) => Err(CommandError::bad_input(format!("{place}: {reason}"))),
            None => Ok(self),
        }
    }

    /// The first thing that the recipe asks for and cannot have.
    fn mistake(&self) -> Option<String> {
        let Train { epochs, warmup_ratio, settings } = &self.train;
        if let Some(ratio) = warmup_ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Some(format!("train.warmup_ratio is {ratio}: expected a share of the steps, 0 to 1"));
        }
        let nothing_held_out = self.data.held_out == 0;
        let rules = [
            (*epochs == 0, "train.epochs is 0: expected passes over the rows, at least 1"),
            (
                warmup_ratio.is_some() && settings.warmup_steps > 0,
                "train.warmup_steps and train.warmup_ratio are both set: expected one of them",
            ),
            (
                nothing_held_out && settings.evaluate_every.is_some(),
                "train.evaluate_every is set, but there are no rows to evaluate on: set data.held_out, or leave it out",
            ),
            (
                nothing_held_out && settings.early_stop.is_some(),
                "train.early_stop is set, but there are no rows to evaluate on: set data.held_out and train.evaluate_every, or leave it out",
            ),
            (
                settings.evaluate_every.is_none() && settings.early_stop.is_some(),
                "train.early_stop is set, but rows are evaluated at the end only: set train.evaluate_every, or leave it out",
            ),
            (
                self.samples.as_ref().is_some_and(|samples| samples.prompts.is_empty() || samples.max_tokens == 0),
                "samples has no prompts, or max_tokens of 0: expected at least one of each, or no [samples]",
            ),
        ];
        if let Some((_, reason)) = rules.into_iter().find(|(wrong, _)| *wrong) {
            return Some(reason.into());
        }
        let objective = match &self.objective {
            Kind::Sft {} => Ok(()),
            Kind::Dpo { beta, label_smoothing } => DpoConfig { beta: *beta, label_smoothing: *label_smoothing }.check(),
            Kind::Orpo { lambda, nll } => Orpo::new(*lambda, *nll).map(drop),
            Kind::Reward { imitation } => Reward::with_imitation(*imitation).map(drop),
        };
        let lora = self.lora.as_ref().map_or(Ok(()), LoraConfig::check);
        let settings = self.settings_for(1).check();
        let named = |table: &'static str| move |error: janus_train::Error| format!("{table}{error}");
        settings.map_err(named("train.")).and(objective.map_err(named("objective."))).and(lora.map_err(named(""))).err()
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
        let Some(path) = self.tokenizer_path() else {
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

    /// Where the tokenizer is: beside the model, unless the recipe says otherwise.
    pub(super) fn tokenizer_path(&self) -> Option<PathBuf> {
        let beside = self.model.path.as_ref().map(|path| path.join("tokenizer.json"));
        self.model.tokenizer.clone().or(beside)
    }

    /// The trainer's settings for examples of these lengths: so many steps as there are whole ones in the recipe's epochs.
    ///
    /// Micro-batches at the end that fill no step are left out, as transformers did it at the time of the paper's runs: a step
    /// more would go on into another epoch, or be a mean over fewer rows than the learning rate is meant for. A step between two
    /// epochs takes micro-batches of both.
    ///
    /// # Errors
    /// Bad input for an example that does not fit, or if there is not one whole step.
    pub fn settings(&self, lengths: Vec<usize>) -> Result<TrainConfig, CommandError> {
        let Train { epochs, settings, .. } = &self.train;
        let order = Order::new(settings.seed, settings.tokens_per_micro_batch, lengths).bad_input()?;
        let order = order.with_examples(settings.examples_per_micro_batch.unwrap_or(usize::MAX));
        let (micro_batches, accumulation) = (order.micro_batches(*epochs), settings.accumulation as u64);
        match micro_batches.checked_div(accumulation) {
            Some(1..) => Ok(self.settings_for(micro_batches / accumulation)),
            _ => Err(CommandError::bad_input(format!(
                "{}: {epochs} epochs are {micro_batches} micro-batches, and train.accumulation is {accumulation}: not one whole step; \
                 lower train.accumulation or train.tokens_per_micro_batch",
                self.data.path.display()
            ))),
        }
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
