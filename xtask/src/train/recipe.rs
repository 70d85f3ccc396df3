//! Recipes: what a training run is, as a TOML file writes it.

use std::path::{Path, PathBuf};

use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use janus_infer::{Architecture, ModelConfig};
use janus_train::{EarlyStop, LoraConfig, NllSpan, Order, Schedule, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

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
    /// Answers to look at, written at every evaluation.
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
    Reward {},
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

/// Shapes that are known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Mistral 7B v0.2.
    #[serde(rename = "mistral-7b-v0.2")]
    Mistral7b,
    /// SmolLM2-135M.
    #[serde(rename = "smollm2-135m")]
    Smollm2,
    /// 0.4 M parameters, to try a recipe out.
    #[serde(rename = "tiny")]
    Tiny,
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

/// How the model is trained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Passes over the rows.
    pub epochs: u64,
    /// Tokens of a micro-batch, at most; rows are packed into it.
    pub tokens_per_micro_batch: usize,
    /// Rows, or pairs, of a micro-batch, at most; none: as many as fit.
    #[serde(default)]
    pub examples_per_micro_batch: Option<usize>,
    /// Micro-batches of an optimiser step.
    pub accumulation: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// `cosine`, `linear` or `constant`.
    pub schedule: Schedule,
    /// Steps of warm-up.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Share of the steps that are warm-up, in the place of `warmup_steps`.
    #[serde(default)]
    pub warmup_ratio: Option<f64>,
    /// AdamW's decay of the moments.
    pub betas: (f64, f64),
    /// AdamW's epsilon.
    pub eps: f64,
    /// Decay of the weights.
    pub weight_decay: f64,
    /// Largest gradient norm.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Elements that share a scale in 8-bit moments; none: f32.
    #[serde(default)]
    pub eight_bit_block: Option<usize>,
    /// Compute activations again instead of keeping them.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// Seed of the order and of fresh weights.
    pub seed: u64,
    /// Steps between two checkpoints.
    #[serde(default)]
    pub checkpoint_every: Option<u64>,
    /// Checkpoints kept.
    #[serde(default = "two")]
    pub keep_last: usize,
    /// Steps between two evaluations of the held-out rows.
    #[serde(default)]
    pub evaluate_every: Option<u64>,
    /// When to end early.
    #[serde(default)]
    pub early_stop: Option<EarlyStop>,
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

fn two() -> usize {
    2
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
        let _: Self = match set.is_empty() {
            true => return toml::from_str(&text).map_err(bad),
            false => toml::from_str(&text).map_err(bad)?,
        };
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
        table.try_into().map_err(|error: toml::de::Error| {
            CommandError::bad_input(format!("{place} with {}: {}", set.join(" "), error.to_string().trim()))
        })
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
        let train = &self.train;
        let order = Order::new(train.seed, train.tokens_per_micro_batch, lengths).bad_input()?;
        let order = order.with_examples(train.examples_per_micro_batch.unwrap_or(usize::MAX));
        let steps = order.micro_batches(train.epochs).div_ceil(train.accumulation.max(1) as u64);
        Ok(self.settings_for(steps))
    }

    /// The trainer's settings for so many steps.
    pub(super) fn settings_for(&self, steps: u64) -> TrainConfig {
        let train = &self.train;
        TrainConfig {
            accumulation: train.accumulation,
            schedule: train.schedule,
            // As OpenRLHF rounds it.
            warmup_steps: train.warmup_ratio.map_or(train.warmup_steps, |ratio| (ratio * steps as f64).ceil() as u64),
            weight_decay: train.weight_decay,
            betas: train.betas,
            eps: train.eps,
            clip_norm: train.clip_norm,
            checkpoint_every: train.checkpoint_every,
            keep_last: train.keep_last,
            eight_bit_block: train.eight_bit_block,
            activation_checkpointing: train.activation_checkpointing,
            examples_per_micro_batch: train.examples_per_micro_batch,
            evaluate_every: train.evaluate_every,
            early_stop: train.early_stop.clone(),
            ..TrainConfig::new(steps, train.tokens_per_micro_batch, train.lr, train.seed)
        }
    }

    /// `tokenizer_config.json` of the trained model.
    pub(super) fn tokenizer_config(&self) -> String {
        let bos = self.template.special_tokens().first().filter(|_| self.template == ChatTemplate::MistralInstruct);
        let config = json!({
            "bos_token": bos,
            "eos_token": self.template.end_of_turn(),
            "add_bos_token": false,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": self.template.jinja(),
        });
        format!("{config:#}\n")
    }

    /// Documents of an example.
    pub(super) fn documents_per_example(&self) -> usize {
        if matches!(self.objective, Kind::Sft {}) { 1 } else { 2 }
    }
}

impl Shape {
    fn config(self) -> ModelConfig {
        let mistral = ModelConfig {
            architecture: Architecture::Mistral,
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 14_336,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            head_dim: 128,
            rms_norm_eps: 1e-5,
            rope_theta: 1e6,
            rope_scaling: None,
            max_position_embeddings: 32_768,
            sliding_window: None,
            tie_word_embeddings: false,
            initializer_range: 0.02,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
        };
        match self {
            Shape::Mistral7b => mistral,
            Shape::Smollm2 => ModelConfig {
                architecture: Architecture::Llama,
                vocab_size: 49_152,
                hidden_size: 576,
                intermediate_size: 1536,
                num_hidden_layers: 30,
                num_attention_heads: 9,
                num_key_value_heads: 3,
                head_dim: 64,
                rope_theta: 1e5,
                max_position_embeddings: 8192,
                tie_word_embeddings: true,
                ..mistral
            },
            Shape::Tiny => ModelConfig {
                vocab_size: 2048,
                hidden_size: 96,
                intermediate_size: 256,
                num_hidden_layers: 2,
                num_attention_heads: 3,
                num_key_value_heads: 3,
                head_dim: 32,
                rope_theta: 1e4,
                max_position_embeddings: 1024,
                tie_word_embeddings: true,
                ..mistral
            },
        }
    }
}
