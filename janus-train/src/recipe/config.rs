//! The recipe of a training run, as it is written in a TOML file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use janus_data::sources::Source;
use janus_data::{LossMessages, Tokenizer};
use janus_infer::{ModelFolder, Template};
use serde::{Deserialize, Serialize};

use super::shape::Shape;
use super::template::RecipeTemplate;
use crate::error::AtPath;
use crate::{DpoConfig, Error, Head, LoraConfig, ModelConfig, NllSpan, Orpo, Result, Reward, TrainConfig};

/// A stage of training. In TOML, unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Recipe {
    /// The chat template of every prompt.
    pub template: RecipeTemplate,
    /// The loss, with its constants.
    pub objective: ObjectiveConfig,
    /// The model to start from.
    pub model: ModelSource,
    /// The training data.
    pub data: DataConfig,
    /// The settings of the trainer. The length is best given in epochs.
    pub train: TrainConfig,
    /// LoRA adapters, which are trained instead of the weights.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
    /// Sample responses to inspect, written at every evaluation, or at the end if no rows are held out.
    #[serde(default)]
    pub samples: Option<SampleConfig>,
}

/// The objective, by `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum ObjectiveConfig {
    /// Supervised fine-tuning: [`Sft`](crate::Sft).
    Sft {},
    /// Direct preference optimisation, [`Dpo`](crate::Dpo); the reference model is the one that training
    /// starts from.
    Dpo {
        /// How strongly the model is kept close to the reference model.
        beta: f64,
        /// Probability that the preference of a pair is wrong.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// Odds-ratio preference optimisation: [`Orpo`].
    Orpo {
        /// Weight of the odds ratio.
        lambda: f64,
        /// What the imitation term covers: `response` or `row`.
        #[serde(default)]
        nll: NllSpan,
    },
    /// A reward model, [`Reward`]; a value head is added to a model that has none.
    Reward {
        /// Weight of the imitation term: the negative log-likelihood of the chosen responses.
        #[serde(default)]
        imitation: f64,
    },
    /// Your own objective, passed to [`Recipe::prepare_with`].
    Custom(CustomObjective),
}

/// An [`Objective`](crate::Objective) of your own: the properties that rows and model depend on.
///
/// ```
/// use janus_train::recipe::ObjectiveConfig;
///
/// let objective = r#"
///     kind = "custom"
///     name = "ipo"
///     documents_per_example = 2
///     settings = { tau = 0.1 }
/// "#;
/// let objective: ObjectiveConfig = toml::from_str(objective)?;
/// assert_eq!(objective.documents_per_example(), 2);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CustomObjective {
    /// Its name, for the record of the run.
    pub name: String,
    /// 1 for rows of {system, prompt, output}, 2 for pairs: the chosen document, then the rejected.
    pub documents_per_example: usize,
    /// The heads that the loss reads: `language_model`, `value`.
    #[serde(default = "language_model")]
    pub heads: Vec<Head>,
    /// Its constants, in any form: [`ObjectiveContext::settings`](super::ObjectiveContext::settings)
    /// parses them.
    #[serde(default)]
    pub settings: toml::Table,
}

fn language_model() -> Vec<Head> {
    vec![Head::LanguageModel]
}

impl CustomObjective {
    /// An objective that reads the language-model head and has no constants.
    pub fn new(name: impl Into<String>, documents_per_example: usize) -> Self {
        Self {
            name: name.into(),
            documents_per_example,
            heads: language_model(),
            settings: toml::Table::new(),
        }
    }

    fn check(&self) -> Result<()> {
        if !(1..=2).contains(&self.documents_per_example) {
            let got = self.documents_per_example.to_string();
            return Err(Error::Setting {
                field: "documents_per_example",
                got,
                expected: "1 for conversations, 2 for pairs",
            });
        }
        if self.heads.is_empty() {
            return Err(Error::Setting {
                field: "heads",
                got: "[]".into(),
                expected: "language_model, value or both",
            });
        }
        Ok(())
    }
}

impl ObjectiveConfig {
    /// Documents in one example.
    pub fn documents_per_example(&self) -> usize {
        match self {
            Self::Sft {} => 1,
            Self::Custom(custom) => custom.documents_per_example,
            Self::Dpo { .. } | Self::Orpo { .. } | Self::Reward { .. } => 2,
        }
    }

    /// The heads that the loss reads.
    pub fn heads(&self) -> &[Head] {
        match self {
            Self::Reward { imitation } => Reward::heads_of(*imitation),
            Self::Custom(custom) => &custom.heads,
            Self::Sft {} | Self::Dpo { .. } | Self::Orpo { .. } => &[Head::LanguageModel],
        }
    }

    fn check(&self) -> Result<()> {
        match *self {
            Self::Sft {} => Ok(()),
            Self::Dpo { beta, label_smoothing } => DpoConfig { beta, label_smoothing }.check(),
            Self::Orpo { lambda, nll } => Orpo::new(lambda, nll).map(drop),
            Self::Reward { imitation } => Reward::with_imitation(imitation).map(drop),
            Self::Custom(ref custom) => custom.check(),
        }
    }
}

/// The model to start from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelSource {
    /// A folder with `config.json`, weights and `tokenizer.json`; `None`: fresh weights of `shape`.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// The shape, for fresh weights and for an estimate before the folder exists.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// A `tokenizer.json` outside the folder.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
}

impl ModelSource {
    /// The model in a folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// Fresh weights, with a `tokenizer.json`.
    pub fn fresh(shape: Shape, tokenizer: impl Into<PathBuf>) -> Self {
        Self { path: None, shape: Some(shape), tokenizer: Some(tokenizer.into()) }
    }
}

/// The data that the model is trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DataConfig {
    /// A file of conversations for `sft`, of pairs for the other objectives, in any format of
    /// [`janus_data::read`]; with `*`, `?` or `[…]` in the name, all files that match
    /// ([`janus_data::paths`]). Or the folder of a [`TokenFile`](janus_data::TokenFile) of conversations
    /// or pairs, written with the model's tokenizer and template; its rows are read from disk when
    /// their step needs them.
    pub path: PathBuf,
    /// The layout of the rows, by the name of its [`Source`]: `sft`, `pairs`, `reward`, `openai`,
    /// `sharegpt`, `hh-rlhf` and others. `None`: the one that the fields of the first row show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Source>,
    /// Names of fields in the file, by the layout's own names, as in
    /// [`ReadOptions::columns`](janus_data::ReadOptions::columns).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Skip rows that cannot be read, and count them; without it, the first one is an error.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skip_bad_rows: bool,
    /// Which of the assistant's messages are in the loss, for `sft`: `all` or `last`. In pairs it is the
    /// last one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss: LossMessages,
    /// Maximum tokens of a row: a longer conversation is dropped, a longer pair loses tokens at the left
    /// of its prompt.
    pub max_tokens: usize,
    /// How many rows (or pairs) at the start of the file are held out.
    #[serde(default)]
    pub held_out: usize,
    /// The number of rows (or pairs), for an estimate before the file exists.
    #[serde(default)]
    pub rows: Option<usize>,
    /// The mean number of tokens in a row, for an estimate.
    #[serde(default)]
    pub tokens_per_row: Option<f64>,
}

impl DataConfig {
    /// All records of a file.
    pub fn new(path: impl Into<PathBuf>, max_tokens: usize) -> Self {
        Self {
            path: path.into(),
            layout: None,
            columns: BTreeMap::new(),
            skip_bad_rows: false,
            loss: LossMessages::All,
            max_tokens,
            held_out: 0,
            rows: None,
            tokens_per_row: None,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Sample responses to inspect while a model trains. Decoding is greedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SampleConfig {
    /// The prompts.
    pub prompts: Vec<String>,
    /// The system message before each prompt.
    #[serde(default)]
    pub system: String,
    /// Maximum new tokens of a response.
    pub max_tokens: usize,
}

impl SampleConfig {
    /// Responses without a system message.
    pub fn new(prompts: Vec<String>, max_tokens: usize) -> Self {
        Self { prompts, system: String::new(), max_tokens }
    }
}

impl Recipe {
    /// A recipe that trains all weights.
    pub fn new(
        template: impl Into<RecipeTemplate>,
        objective: ObjectiveConfig,
        model: ModelSource,
        data: DataConfig,
        train: TrainConfig,
    ) -> Self {
        let template = template.into();
        Self { template, objective, model, data, train, lora: None, samples: None }
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Error::Recipe`], which names file, line and key; the errors of [`check`](Self::check).
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_with(path, &[] as &[&str])
    }

    /// Reads a TOML file and overrides some of its keys. Each override is `a.b=value`, where the value
    /// is TOML or a bare word, which is read as a string.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::Assignment`] for an override without a key or without a value.
    pub fn read_with(path: impl AsRef<Path>, set: &[impl AsRef<str>]) -> Result<Self> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path).at(path)?;
        let bad = |place: &str| {
            let place = place.to_string();
            |error: toml::de::Error| Error::Recipe {
                place: at_line(place, &text, error.span()),
                error: Box::new(error),
            }
        };
        // The unchanged text is parsed first, because its errors have a line number.
        let recipe: Self = toml::from_str(&text).map_err(bad(&place))?;
        let assignments: Vec<&str> = set.iter().map(AsRef::as_ref).collect();
        let (recipe, place) = if assignments.is_empty() {
            (recipe, place)
        } else {
            let mut table: toml::Table = toml::from_str(&text).map_err(bad(&place))?;
            assignments.iter().try_for_each(|assignment| assign(&mut table, assignment))?;
            let place = format!("{place} with {}", assignments.join(" "));
            (table.try_into().map_err(bad(&place))?, place)
        };
        recipe.check_at(&place)?;
        Ok(recipe)
    }

    /// Refuses numbers out of range, and keys that have no effect without others.
    ///
    /// # Errors
    /// [`Error::RecipeSetting`], [`Error::RecipeRule`].
    pub fn check(&self) -> Result<()> {
        self.check_at("the recipe")
    }

    fn check_at(&self, place: &str) -> Result<()> {
        let train = &self.train;
        let nothing_held_out = self.data.held_out == 0;
        let rules = [
            (
                self.data.loss != LossMessages::All && self.objective.documents_per_example() == 2,
                "data.loss is last, which is of sft: in pairs only the last answers are in the loss; leave it out",
            ),
            (
                self.data.rows.is_some_and(|rows| self.data.held_out >= rows),
                "data.held_out leaves no row of data.rows to train on: hold out fewer",
            ),
            (
                self.template == RecipeTemplate::Own && self.model.path.is_none(),
                "template is own, and there is no model.path that has one: name a built-in template",
            ),
            (
                nothing_held_out && train.evaluate_every.is_some(),
                "train.evaluate_every is set, but there are no rows to evaluate on: set data.held_out, or leave it out",
            ),
            (
                nothing_held_out && train.early_stop.is_some(),
                "train.early_stop is set, but there are no rows to evaluate on: set data.held_out and train.evaluate_every, or leave it out",
            ),
            (
                train.evaluate_every.is_none() && train.early_stop.is_some(),
                "train.early_stop is set, but rows are evaluated at the end only: set train.evaluate_every, or leave it out",
            ),
            (
                nothing_held_out && train.keep_best.is_some(),
                "train.keep_best is set, but there are no rows to evaluate on: set data.held_out, or leave it out",
            ),
            (
                self.samples
                    .as_ref()
                    .is_some_and(|samples| samples.prompts.is_empty() || samples.max_tokens == 0),
                "samples has no prompts, or max_tokens of 0: expected at least one of each, or no [samples]",
            ),
        ];
        if let Some((_, problem)) = rules.into_iter().find(|(wrong, _)| *wrong) {
            return Err(Error::RecipeRule { place: place.into(), problem });
        }
        let named = |table: &'static str| {
            let place = place.to_string();
            move |error: Error| Error::RecipeSetting { place, table, error: Box::new(error) }
        };
        train.check().map_err(named("train."))?;
        self.objective.check().map_err(named("objective."))?;
        self.lora.as_ref().map_or(Ok(()), LoraConfig::check).map_err(named(""))
    }

    /// The model's architecture: from `config.json` in its folder if that exists, else from its shape.
    ///
    /// # Errors
    /// [`Error::RecipeRule`] if the recipe has neither; [`Error::Model`] if `config.json` cannot be
    /// read.
    pub fn model_config(&self) -> Result<ModelConfig> {
        let folder = self.model.path.as_ref().map(|path| path.join("config.json"));
        match (folder, self.model.shape) {
            (Some(file), shape) if file.exists() || shape.is_none() => Ok(ModelConfig::read(file)?),
            (_, Some(shape)) => Ok(shape.config()),
            (_, None) => Err(self.rule("model has neither path nor shape")),
        }
    }

    /// The tokenizer. Its vocabulary must not be larger than the model's embedding.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read, [`Error::Vocabulary`] if it has more tokens than the model,
    /// [`Error::RecipeRule`] if the recipe has no tokenizer.
    pub fn tokenizer(&self, config: &ModelConfig) -> Result<Tokenizer> {
        let Some(path) = self.tokenizer_path() else {
            return Err(self.rule("model has neither path nor tokenizer"));
        };
        let tokenizer = Tokenizer::read(&path)?;
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(Error::Vocabulary { path, tokens: tokenizer.vocab_size(), rows: config.vocab_size });
        }
        Ok(tokenizer)
    }

    /// The chat template that rows are formatted with.
    ///
    /// # Errors
    /// [`Error::RecipeRule`](crate::Error::RecipeRule) for `own` without a model's folder;
    /// [`Error::Model`](crate::Error::Model) if the folder has no usable template.
    pub fn chat_template(&self, tokenizer: &Tokenizer) -> Result<Template> {
        match (self.template, &self.model.path) {
            (RecipeTemplate::BuiltIn(template), _) => Ok(template.into()),
            (RecipeTemplate::Own, Some(path)) => Ok(ModelFolder::new(path).template(tokenizer)?),
            (RecipeTemplate::Own, None) => Err(self
                .rule("template is own, and there is no model.path that has one: name a built-in template")),
        }
    }

    pub(super) fn rule(&self, problem: &'static str) -> Error {
        Error::RecipeRule { place: "the recipe".into(), problem }
    }

    /// The tokenizer's path: in the model's folder, unless the recipe sets `model.tokenizer`.
    pub(super) fn tokenizer_path(&self) -> Option<PathBuf> {
        let beside = self.model.path.as_ref().map(|path| path.join("tokenizer.json"));
        self.model.tokenizer.clone().or(beside)
    }
}

/// A position in a TOML text for error messages, with the line where a span begins:
/// `sft.toml, line 7, "lr = fast"`.
pub fn at_line(place: impl fmt::Display, text: &str, span: Option<Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return place.to_string() };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("{place}, line {}, \"{line}\"", number + 1)
}

/// Sets a key of a table: `a.b=value`.
fn assign(table: &mut toml::Table, assignment: &str) -> Result<()> {
    let wrong = |problem| Error::Assignment { assignment: assignment.into(), problem };
    let (key, value) = assignment.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE"))?;
    let value = match toml::from_str::<toml::Table>(&format!("value = {value}")) {
        Ok(mut table) => table.remove("value").unwrap_or_else(|| toml::Value::String(value.into())),
        Err(_) => toml::Value::String(value.into()),
    };
    let mut keys: Vec<&str> = key.split('.').collect();
    let last = keys.pop().filter(|last| !last.is_empty()).ok_or_else(|| wrong("the key is empty"))?;
    let mut inner = table;
    for key in keys {
        let entry = inner.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        inner = entry.as_table_mut().ok_or_else(|| wrong("a part of the key is not a table"))?;
    }
    inner.insert(last.into(), value);
    Ok(())
}
