//! The architecture of a Llama or Mistral model, as Hugging Face's `config.json` states it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::rope_scaling::RopeParameters;
use crate::{Error, Projection, Result, RopeScaling};

/// The two families; they differ in the sliding window only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// `LlamaForCausalLM`.
    Llama,
    /// `MistralForCausalLM`.
    Mistral,
}

/// Sizes and constants of a decoder: RMSNorm, rotary positions (half-split form), grouped-query
/// attention, SwiGLU, no biases.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which family.
    pub architecture: Architecture,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Decoder blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` where the file does not say.
    pub head_dim: usize,
    /// Epsilon under the root of RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched; none: they are not.
    pub rope_scaling: Option<RopeScaling>,
    /// Positions that the model was made for.
    pub max_position_embeddings: usize,
    /// A token sees this many tokens, itself included; none: all before it.
    pub sliding_window: Option<usize>,
    /// The head is the embedding's transpose; there is no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Id of the token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Ids of the tokens that end one; a generation ends at any of them.
    pub eos_token_ids: Vec<u32>,
}

/// What a size can be at the most, in elements.
const MAX_SIZE: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 12;

/// The file's own shape: both spellings of the rope keys, everything optional that has a default.
#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
    #[serde(default = "default_hidden_act")]
    hidden_act: String,
    #[serde(default = "default_rms_norm_eps")]
    rms_norm_eps: f64,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default, skip_serializing)]
    rope_parameters: Option<RopeParameters>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<serde_json::Value>,
    max_position_embeddings: usize,
    #[serde(default)]
    sliding_window: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default = "default_initializer_range")]
    initializer_range: f64,
    #[serde(default, deserialize_with = "first_id")]
    bos_token_id: Option<u32>,
    #[serde(default)]
    eos_token_id: Option<Ids>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    attention_bias: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    mlp_bias: bool,
    #[serde(default)]
    torch_dtype: Option<String>,
}

fn default_hidden_act() -> String {
    "silu".into()
}

fn default_rms_norm_eps() -> f64 {
    1e-6
}

fn default_initializer_range() -> f64 {
    0.02
}

/// An id or a list of them: Llama 3 has several end tokens.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    fn of(ids: &[u32]) -> Option<Self> {
        match ids {
            [] => None,
            [id] => Some(Self::One(*id)),
            ids => Some(Self::Many(ids.into())),
        }
    }

    fn all(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// The first id.
fn first_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(Option::<Ids>::deserialize(deserializer)?.and_then(|ids| ids.all().first().copied()))
}

/// What is read of `generation_config.json`.
#[derive(Deserialize)]
struct GenerationFile {
    #[serde(default)]
    eos_token_id: Option<Ids>,
}

impl ModelConfig {
    /// Reads `config.json`, and what tokens end a text from `generation_config.json` too, if that stands beside it.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Config`] if it is not the config of a model
    /// that this crate runs.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = |path: &Path| std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source });
        let mut config = Self::parse(&text(path)?).map_err(|reason| Error::Config { path: path.into(), reason })?;
        let beside = path.with_file_name("generation_config.json");
        if beside.exists() {
            let read = serde_json::from_str(&text(&beside)?);
            let file: GenerationFile = read.map_err(|error| Error::Config { path: beside, reason: error.to_string() })?;
            config.add_eos(file.eos_token_id.map_or_else(Vec::new, Ids::all));
        }
        Ok(config)
    }

    /// Adds tokens that end a text, each once.
    pub(crate) fn add_eos(&mut self, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            if !self.eos_token_ids.contains(&id) {
                self.eos_token_ids.push(id);
            }
        }
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`Error::ConfigText`] with what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self> {
        Self::parse(text).map_err(|reason| Error::ConfigText { reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let architecture = match file.model_type.as_str() {
            "llama" => Architecture::Llama,
            "mistral" => Architecture::Mistral,
            other => return Err(format!("model_type is \"{other}\": expected llama or mistral")),
        };
        if file.hidden_act != "silu" {
            return Err(format!("hidden_act is \"{}\": expected silu", file.hidden_act));
        }
        if file.attention_bias || file.mlp_bias {
            return Err("attention_bias or mlp_bias is true: models with biases are not supported".into());
        }
        let rope = file.rope_parameters.unwrap_or_default();
        let rope_theta = rope.rope_theta.or(file.rope_theta).unwrap_or(10_000.0);
        // Since transformers 5 the scaling stands in `rope_parameters`, before in a key of its own.
        let older = file.rope_scaling.map(serde_json::from_value::<RopeParameters>).transpose();
        let older = older.map_err(|error| format!("rope_scaling: {error}"))?.unwrap_or_default();
        let positions = file.max_position_embeddings;
        let rope_scaling = rope.scaling(positions)?.map_or_else(|| older.scaling(positions), |scaling| Ok(Some(scaling)))?;
        let config = Self {
            architecture,
            vocab_size: file.vocab_size,
            hidden_size: file.hidden_size,
            intermediate_size: file.intermediate_size,
            num_hidden_layers: file.num_hidden_layers,
            num_attention_heads: file.num_attention_heads,
            num_key_value_heads: file.num_key_value_heads.unwrap_or(file.num_attention_heads),
            head_dim: file.head_dim.unwrap_or(file.hidden_size / file.num_attention_heads.max(1)),
            rms_norm_eps: file.rms_norm_eps,
            rope_theta,
            rope_scaling,
            max_position_embeddings: file.max_position_embeddings,
            // transformers' Llama has no window; the key in its config is ignored there too.
            sliding_window: file.sliding_window.filter(|_| architecture == Architecture::Mistral),
            tie_word_embeddings: file.tie_word_embeddings,
            initializer_range: file.initializer_range,
            bos_token_id: file.bos_token_id,
            eos_token_ids: file.eos_token_id.map_or_else(Vec::new, Ids::all),
        };
        config.check()?;
        Ok(config)
    }

    /// The text of a `config.json` that transformers, vLLM and llama.cpp's converter read.
    pub fn to_json(&self) -> String {
        let (model_type, class) = match self.architecture {
            Architecture::Llama => ("llama", "LlamaForCausalLM"),
            Architecture::Mistral => ("mistral", "MistralForCausalLM"),
        };
        let file = File {
            architectures: Some(vec![class.into()]),
            model_type: model_type.into(),
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: Some(self.num_key_value_heads),
            head_dim: Some(self.head_dim),
            hidden_act: default_hidden_act(),
            rms_norm_eps: self.rms_norm_eps,
            rope_theta: Some(self.rope_theta),
            rope_parameters: None,
            rope_scaling: self.rope_scaling.as_ref().map(RopeScaling::to_json),
            max_position_embeddings: self.max_position_embeddings,
            sliding_window: self.sliding_window,
            tie_word_embeddings: self.tie_word_embeddings,
            initializer_range: self.initializer_range,
            bos_token_id: self.bos_token_id,
            eos_token_id: Ids::of(&self.eos_token_ids),
            attention_bias: false,
            mlp_bias: false,
            torch_dtype: Some("float32".into()),
        };
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Every weight by its Hugging Face name, with its shape, in the model's order.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.hidden_size;
        let mut all = vec![("model.embed_tokens.weight".to_string(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let name = |tail: &str| format!("model.layers.{layer}.{tail}.weight");
            let projection = |projection: Projection| (name(projection.hf_name()), projection.shape(self).to_vec());
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

    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("{name} is 0: expected at least 1"));
        }
        // Far above any model, and low enough for every product of them.
        if let Some((name, size)) = sizes.iter().find(|(_, size)| *size > MAX_SIZE) {
            return Err(format!("{name} is {size}: expected at most {MAX_SIZE}"));
        }
        if self.num_hidden_layers > MAX_LAYERS {
            return Err(format!("num_hidden_layers is {}: expected at most {MAX_LAYERS}", self.num_hidden_layers));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(format!(
                "num_key_value_heads is {}: expected a divisor of num_attention_heads, {}",
                self.num_key_value_heads, self.num_attention_heads
            ));
        }
        if self.num_attention_heads * self.head_dim > MAX_SIZE {
            return Err(format!("{} heads of {} elements: expected at most {MAX_SIZE}", self.num_attention_heads, self.head_dim));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim is {}: rotary positions need an even one", self.head_dim));
        }
        if !(self.rope_theta > 0.0 && self.rms_norm_eps > 0.0) {
            return Err("rope_theta and rms_norm_eps must be above 0".into());
        }
        self.rope_scaling.as_ref().map_or(Ok(()), |scaling| scaling.check(self.head_dim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(extra: &str) -> Result<ModelConfig> {
        ModelConfig::from_json(&format!(
            r#"{{"model_type":"mistral","vocab_size":8,"hidden_size":4,"intermediate_size":6,"num_hidden_layers":1,
                "num_attention_heads":2,"max_position_embeddings":16{extra}}}"#
        ))
    }

    #[test]
    fn what_is_written_is_read() {
        let config =
            tiny(r#","rope_parameters":{"rope_theta":5.0,"rope_type":"default"},"eos_token_id":[2,3],"sliding_window":4"#).unwrap();
        assert_eq!((config.rope_theta, config.eos_token_ids.as_slice(), config.head_dim), (5.0, &[2, 3][..], 2));
        assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
        assert_eq!(config.num_parameters(), 8 * 4 * 2 + 4 + (4 + 4 + 4 * 4 * 4 + 3 * 24));
    }

    #[test]
    fn end_tokens_are_one_or_several_and_those_of_the_generation_config() {
        for (extra, ids, written) in [
            ("", &[][..], "\"eos_token_id\": null"),
            (r#","eos_token_id":2"#, &[2], "\"eos_token_id\": 2"),
            (r#","eos_token_id":[4,2]"#, &[4, 2], "\"eos_token_id\": ["),
        ] {
            let config = tiny(extra).unwrap();
            assert_eq!(config.eos_token_ids, ids);
            let text = config.to_json();
            assert!(text.contains(written), "{text}");
            assert_eq!(ModelConfig::from_json(&text).unwrap(), config);
        }
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("config.json"), folder.path().join("generation_config.json"));
        std::fs::write(&path, tiny(r#","eos_token_id":3"#).unwrap().to_json()).unwrap();
        for (text, ids) in [
            (r#"{"temperature": 0.6, "eos_token_id": [5, 3, 6]}"#, &[3, 5, 6][..]),
            (r#"{"eos_token_id": 4}"#, &[3, 4]),
            (r#"{"eos_token_id": null}"#, &[3]),
            ("{}", &[3]),
        ] {
            std::fs::write(&beside, text).unwrap();
            assert_eq!(ModelConfig::read(&path).unwrap().eos_token_ids, ids, "{text}");
        }
        std::fs::write(&beside, r#"{"eos_token_id": "</s>"}"#).unwrap();
        assert!(matches!(ModelConfig::read(&path), Err(Error::Config { path, .. }) if path == beside));
    }

    #[test]
    fn scaled_positions_are_read_in_both_spellings_and_written() {
        let llama3 = r#""factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8"#;
        let expected =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8 };
        for (extra, expected) in [
            (format!(r#","rope_theta":7.0,"rope_scaling":{{"rope_type":"llama3",{llama3}}}"#), expected.clone()),
            (format!(r#","rope_parameters":{{"rope_theta":7.0,"rope_type":"llama3",{llama3}}}"#), expected),
            (r#","rope_theta":7.0,"rope_scaling":{"type":"linear","factor":2.5}"#.into(), RopeScaling::Linear { factor: 2.5 }),
            (
                r#","rope_theta":7.0,"rope_scaling":{"type":"longrope","rope_type":"longrope","attention_factor":1.0,
                    "short_factor":[1.1],"long_factor":[1.1]}"#
                    .into(),
                RopeScaling::Factors(vec![1.1]),
            ),
        ] {
            let config = tiny(&extra).unwrap();
            assert_eq!((config.rope_theta, config.rope_scaling.as_ref()), (7.0, Some(&expected)), "{extra}");
            assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
        }
        // Where the context of pre-training is not told, it is the model's, as in transformers.
        let short = tiny(r#","rope_scaling":{"rope_type":"llama3","factor":2,"low_freq_factor":1,"high_freq_factor":4}"#).unwrap();
        assert!(matches!(short.rope_scaling, Some(RopeScaling::Llama3 { original_max_position_embeddings: 16, .. })));
        assert!(!tiny("").unwrap().to_json().contains("rope_scaling"));
    }

    #[test]
    fn what_we_cannot_run_is_refused_with_its_reason() {
        for (extra, reason) in [
            (r#","rope_scaling":{"rope_type":"llama3"}"#, "without factor"),
            (r#","rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}"#, "less than high_freq_factor"),
            (r#","rope_scaling":{"rope_type":"yarn","factor":2}"#, "yarn"),
            (r#","rope_scaling":{"factor":2}"#, "without rope_type"),
            (r#","rope_scaling":"llama3""#, "rope_scaling"),
            (r#","rope_parameters":{"rope_type":"linear","factor":0}"#, "factor is 0"),
            (r#","rope_parameters":{"rope_type":"default","partial_rotary_factor":0.5}"#, "partial_rotary_factor"),
            (r#","rope_scaling":{"type":"longrope","attention_factor":1,"short_factor":[1,2],"long_factor":[1,2]}"#, "expected 1"),
            (r#","rope_scaling":{"type":"longrope","attention_factor":1,"short_factor":[1],"long_factor":[2]}"#, "only one list"),
            (r#","num_key_value_heads":3"#, "divisor"),
            (r#","head_dim":3"#, "even"),
            (r#","attention_bias":true"#, "bias"),
            (r#","hidden_act":"gelu""#, "gelu"),
            (r#","sliding_window":0"#, "sliding_window"),
            (r#","num_key_value_heads":1,"head_dim":1000000000"#, "head_dim"),
            (r#","head_dim":10000000"#, "2 heads of 10000000"),
        ] {
            let error = tiny(extra).unwrap_err();
            assert!(error.to_string().contains(reason), "{extra}: {error}");
        }
        let endless = tiny("").unwrap().to_json().replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1000000000");
        assert!(ModelConfig::from_json(&endless).unwrap_err().to_string().contains("num_hidden_layers is 1000000000: expected at most"));
    }
}
