//! The architecture of a Llama or Mistral model.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config_file::ConfigFile;
use crate::{ConfigProblem, Error, Projection, Result, RopeScaling};

/// The model families. They differ only in the sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// `LlamaForCausalLM`.
    Llama,
    /// `MistralForCausalLM`.
    Mistral,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 2] = [Self::Llama, Self::Mistral];

    /// Their names, for messages.
    pub(super) const KNOWN: &str = "llama or mistral";

    /// Its `model_type` in a `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
        }
    }

    /// Its class in the `architectures` of a `config.json`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}

/// The sizes and constants of a decoder with RMSNorm, rotary position embedding (half-split form),
/// grouped-query attention, SwiGLU and no biases.
///
/// It is read from a `config.json` ([`read`](Self::read), [`from_json`](Self::from_json), serde) or made
/// from sizes:
///
/// ```
/// use janus_infer::{ModelConfig, ModelSizes};
///
/// let mut config = ModelConfig::llama(ModelSizes {
///     vocab_size: 1024,
///     hidden_size: 96,
///     intermediate_size: 256,
///     num_hidden_layers: 3,
///     num_attention_heads: 4,
///     num_key_value_heads: 2,
///     max_position_embeddings: 512,
/// });
/// config.tie_word_embeddings = true;
/// config.eos_token_ids = vec![2];
/// config.check()?;
/// assert_eq!((config.head_dim, config.num_parameters()), (24, 403_104));
/// # Ok::<(), janus_infer::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The model family.
    pub architecture: Architecture,
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP's inner activations.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key/value heads, a divisor of `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` unless stated.
    pub head_dim: usize,
    /// Epsilon under the root of RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// The scaling of the rotary frequencies; `None` for no scaling.
    pub rope_scaling: Option<RopeScaling>,
    /// The context length of the model.
    pub max_position_embeddings: usize,
    /// Number of tokens that a token attends to, including itself; `None` for itself and all before it.
    pub sliding_window: Option<usize>,
    /// Whether the embedding is also the head, so that there is no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// Standard deviation of newly initialised weights.
    pub initializer_range: f64,
    /// Id of the token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Ids of the tokens that end a text; a generation ends at any of them.
    pub eos_token_ids: Vec<u32>,
}

/// The sizes that every model must state, with their names in `config.json`; see [`ModelConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of ModelConfig of the same names are documented")]
pub struct ModelSizes {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub max_position_embeddings: usize,
}

/// Far above the sizes of any model, and so low that no product of two sizes overflows.
const MAX_SIZE: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 12;

impl ModelConfig {
    /// A Llama model of these sizes, with transformers' defaults for the other fields: epsilon of
    /// RMSNorm 1e-6, rotary base 10,000, initial weights from N(0, 0.02²), untied embeddings, no special
    /// tokens. Change the fields that differ.
    pub fn llama(sizes: ModelSizes) -> Self {
        Self::of_sizes(Architecture::Llama, sizes)
    }

    /// A Mistral model, as [`llama`](Self::llama). It has no sliding window unless `sliding_window` is set.
    pub fn mistral(sizes: ModelSizes) -> Self {
        Self::of_sizes(Architecture::Mistral, sizes)
    }

    fn of_sizes(architecture: Architecture, sizes: ModelSizes) -> Self {
        Self {
            architecture,
            vocab_size: sizes.vocab_size,
            hidden_size: sizes.hidden_size,
            intermediate_size: sizes.intermediate_size,
            num_hidden_layers: sizes.num_hidden_layers,
            num_attention_heads: sizes.num_attention_heads,
            num_key_value_heads: sizes.num_key_value_heads,
            head_dim: sizes.hidden_size / sizes.num_attention_heads.max(1),
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: None,
            max_position_embeddings: sizes.max_position_embeddings,
            sliding_window: None,
            tie_word_embeddings: false,
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
        }
    }

    /// Reads `config.json`, and more end-of-sequence tokens from a `generation_config.json` in the same
    /// folder, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Config`] if it is not the config of a model that
    /// this crate runs.
    pub fn read(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Ok(ConfigFile::read(path)?.model)
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] with what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self> {
        Ok(ConfigFile::from_json(text)?.model)
    }

    /// The text of a `config.json` that transformers, vLLM and llama.cpp's converter can read. Equal
    /// configs have equal texts. It does not fail: a number that is not finite, which
    /// [`check`](Self::check) refuses, is written as a string, which reading refuses.
    pub fn to_json(&self) -> String {
        ConfigFile::new(self.clone()).to_json()
    }

    /// Adds end-of-sequence tokens that are not there yet.
    pub(crate) fn add_eos(&mut self, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            if !self.eos_token_ids.contains(&id) {
                self.eos_token_ids.push(id);
            }
        }
    }

    /// The Hugging Face name and the shape of every weight, in the order of the forward pass.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.hidden_size;
        let mut all = vec![("model.embed_tokens.weight".to_string(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let name = |tail: &str| format!("model.layers.{layer}.{tail}.weight");
            let projection =
                |projection: Projection| (name(projection.hf_name()), projection.shape(self).to_vec());
            all.push((name("input_layernorm"), vec![hidden]));
            all.extend(Projection::ATTENTION.map(projection));
            all.push((name("post_attention_layernorm"), vec![hidden]));
            all.extend(Projection::MLP.map(projection));
        }
        all.push(("model.norm.weight".into(), vec![hidden]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".into(), vec![self.vocab_size, hidden]));
        }
        all
    }

    /// Number of weights.
    pub fn num_parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Checks that such a model can be built. All functions that build a model call it.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] with the first field that is out of range or does not fit another.
    pub fn check(&self) -> Result<()> {
        self.problem().map_or(Ok(()), |problem| Err(Error::ModelConfig(problem)))
    }

    /// The first field that is out of range or does not fit another.
    pub(super) fn problem(&self) -> Option<ConfigProblem> {
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_SIZE),
            ("num_key_value_heads", self.num_key_value_heads, MAX_SIZE),
            ("head_dim", self.head_dim, MAX_SIZE),
            ("max_position_embeddings", self.max_position_embeddings, MAX_SIZE),
            ("sliding_window", self.sliding_window.unwrap_or(1), MAX_SIZE),
        ];
        if let Some((name, ..)) = sizes.iter().find(|(_, size, _)| *size == 0) {
            return Some(ConfigProblem::value(*name, 0, "at least 1"));
        }
        if let Some((name, size, most)) = sizes.iter().find(|(_, size, most)| size > most) {
            return Some(ConfigProblem::value(*name, size, format!("at most {most}")));
        }
        let (heads, kv_heads, head_dim) = (self.num_attention_heads, self.num_key_value_heads, self.head_dim);
        if !heads.is_multiple_of(kv_heads) {
            return Some(ConfigProblem::value(
                "num_key_value_heads",
                kv_heads,
                format!("a divisor of num_attention_heads, {heads}"),
            ));
        }
        if heads * head_dim > MAX_SIZE {
            let expected = format!("at most {MAX_SIZE} elements in all {heads} heads");
            return Some(ConfigProblem::value("head_dim", head_dim, expected));
        }
        if !head_dim.is_multiple_of(2) {
            return Some(ConfigProblem::value(
                "head_dim",
                head_dim,
                "an even number, for rotary position embedding",
            ));
        }
        let numbers = [("rope_theta", self.rope_theta), ("rms_norm_eps", self.rms_norm_eps)];
        if let Some((name, number)) =
            numbers.into_iter().find(|(_, number)| !(*number > 0.0 && number.is_finite()))
        {
            return Some(ConfigProblem::value(name, number, "a finite number above 0"));
        }
        if !(self.initializer_range >= 0.0 && self.initializer_range.is_finite()) {
            return Some(ConfigProblem::value(
                "initializer_range",
                self.initializer_range,
                "a finite number, 0 or more",
            ));
        }
        self.rope_scaling.as_ref().and_then(|scaling| scaling.problem(head_dim))
    }
}

/// In the form of [`ModelConfig::to_json`].
impl Serialize for ModelConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ConfigFile::new(self.clone()).to_map().serialize(serializer)
    }
}

/// In the form of [`ModelConfig::from_json`].
impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(ConfigFile::deserialize(deserializer)?.model)
    }
}
