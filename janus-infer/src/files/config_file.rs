//! Reading and writing of `config.json`.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::heads::RewardScale;
use super::rope_scaling::RopeParameters;
use super::unused;
use crate::{Architecture, Error, ModelConfig, Result};

/// What is wrong with a model's config.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// It is not JSON, or a field is missing or has the wrong type.
    #[error("{}{message}", field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
    Json {
        /// The field, such as `rope_scaling.factor`, if it is known.
        field: Option<String>,
        /// Whether it is not JSON, is truncated, or has an unexpected value.
        category: serde_json::error::Category,
        /// The parser's message: what was found and what was expected, with line and column.
        message: String,
    },
    /// An architecture that this crate does not run.
    #[error("{field} is \"{got}\": expected {known}")]
    Architecture {
        /// `model_type`, or `general.architecture` in a GGUF file.
        field: &'static str,
        /// The architecture's name.
        got: String,
        /// The architectures that it runs.
        known: &'static str,
    },
    /// A field with a value that cannot be used, or that contradicts another field.
    #[error("{field} is {got}: expected {expected}")]
    Value {
        /// The field, such as `rope_scaling.factor`.
        field: String,
        /// Its value.
        got: String,
        /// The values that can be used.
        expected: String,
    },
}

impl ConfigProblem {
    fn json(field: Option<String>, error: &serde_json::Error) -> Self {
        Self::Json { field, category: error.classify(), message: error.to_string() }
    }

    pub(super) fn value(
        field: impl Into<String>,
        got: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Value { field: field.into(), got: got.to_string(), expected: expected.into() }
    }
}

/// The content of a `config.json`: the architecture, the type of the weights, the value head and the
/// reward scale.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConfigFile {
    /// The architecture.
    pub model: ModelConfig,
    /// `torch_dtype`, or `dtype` since transformers 5: `float32`, `bfloat16`, ... It is not used for
    /// reading, since weights files state their types.
    pub dtype: Option<String>,
    /// `mean` and `std`: the scale of a reward model's rewards.
    pub reward_scale: Option<RewardScale>,
    /// `value_head_prefix`: the name of the value head among the weights, without `.weight`, as OpenRLHF
    /// writes it.
    pub value_head_prefix: Option<String>,
    /// The keys that this crate does not interpret, in their order: `pad_token_id`, `use_cache`, ... One that
    /// may change answers, such as `logit_scale`, is refused when the file is read. A model that was read and
    /// fine-tuned is written with them. `quantization_config`, `compression_config` and `auto_map` are
    /// dropped: they describe files that are not written.
    pub other: Map<String, Value>,
}

/// Keys that describe files which are not written.
const OF_OTHER_FILES: [&str; 3] = ["quantization_config", "compression_config", "auto_map"];

/// The file as written: both spellings of the rope keys, and every field with a default optional.
#[derive(Deserialize)]
struct Raw {
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
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default = "default_rms_norm_eps")]
    rms_norm_eps: f64,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_parameters: Option<RopeParameters>,
    #[serde(default)]
    rope_scaling: Option<RopeParameters>,
    #[serde(default)]
    partial_rotary_factor: Option<f64>,
    max_position_embeddings: usize,
    #[serde(default)]
    sliding_window: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default = "default_initializer_range")]
    initializer_range: f64,
    #[serde(default)]
    bos_token_id: Option<Ids>,
    #[serde(default)]
    eos_token_id: Option<Ids>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    torch_dtype: Option<String>,
    #[serde(default)]
    dtype: Option<String>,
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    std: Option<f64>,
    #[serde(default)]
    value_head_prefix: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

fn default_rms_norm_eps() -> f64 {
    1e-6
}

fn default_initializer_range() -> f64 {
    0.02
}

/// A token id or a list of them: Llama 3 has several end-of-sequence tokens.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of them")]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// The part of `generation_config.json` that is used.
#[derive(Deserialize)]
struct GenerationFile {
    #[serde(default)]
    eos_token_id: Option<Ids>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl GenerationFile {
    /// A setting that forbids or forces tokens whatever a request says, which this crate does not do.
    fn problem(&self) -> Option<ConfigProblem> {
        const FORCING: [&str; 7] = [
            "bad_words_ids",
            "begin_suppress_tokens",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "no_repeat_ngram_size",
            "sequence_bias",
            "suppress_tokens",
        ];
        let neutral = |value: &Value| match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            value => value.is_null() || *value == 0,
        };
        let (key, value) =
            self.others.iter().find(|(key, value)| FORCING.contains(&key.as_str()) && !neutral(value))?;
        Some(ConfigProblem::value(key, value, "no such key: this version forbids and forces no tokens"))
    }
}

impl ConfigFile {
    /// The config of a model in float32 without a value head.
    pub fn new(model: ModelConfig) -> Self {
        Self {
            model,
            dtype: Some("float32".into()),
            reward_scale: None,
            value_head_prefix: None,
            other: Map::new(),
        }
    }

    /// Reads `config.json`, and more end-of-sequence tokens from a `generation_config.json` in the same
    /// folder, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Config`] if it is not the config of a model that
    /// this crate runs.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = |path: &Path| std::fs::read_to_string(path).map_err(Error::io(path));
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |problem| Error::Config { path, problem }
        };
        let mut config = parse::<Raw>(&text(path)?).and_then(Self::try_from).map_err(at(path))?;
        let generation_config = path.with_file_name("generation_config.json");
        if generation_config.exists() {
            let file: GenerationFile = parse(&text(&generation_config)?).map_err(at(&generation_config))?;
            if let Some(problem) = file.problem() {
                return Err(at(&generation_config)(problem));
            }
            config.model.add_eos(file.eos_token_id.iter().flat_map(Ids::as_slice).copied());
        }
        Ok(config)
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] with what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self> {
        parse::<Raw>(text).and_then(Self::try_from).map_err(Error::ModelConfig)
    }

    /// The text of the file: that of [`ModelConfig::to_json`] with the other fields.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", Value::Object(self.to_map()))
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let model = &self.model;
        let mut map = Map::new();
        let mut set = |key: &str, value: Value| drop(map.insert(key.into(), value));
        set("architectures", vec![model.architecture.class()].into());
        set("model_type", model.architecture.model_type().into());
        set("vocab_size", model.vocab_size.into());
        set("hidden_size", model.hidden_size.into());
        set("intermediate_size", model.intermediate_size.into());
        set("num_hidden_layers", model.num_hidden_layers.into());
        set("num_attention_heads", model.num_attention_heads.into());
        set("num_key_value_heads", model.num_key_value_heads.into());
        set("head_dim", model.head_dim.into());
        set("hidden_act", "silu".into());
        set("rms_norm_eps", number(model.rms_norm_eps));
        set("rope_theta", number(model.rope_theta));
        if let Some(scaling) = &model.rope_scaling {
            set("rope_scaling", scaling.to_json());
        }
        set("max_position_embeddings", model.max_position_embeddings.into());
        set("sliding_window", model.sliding_window.into());
        set("tie_word_embeddings", model.tie_word_embeddings.into());
        set("initializer_range", number(model.initializer_range));
        set("bos_token_id", model.bos_token_id.into());
        set(
            "eos_token_id",
            match model.eos_token_ids[..] {
                [] => Value::Null,
                [id] => id.into(),
                ref ids => ids.into(),
            },
        );
        if let Some(dtype) = &self.dtype {
            set("torch_dtype", dtype.as_str().into());
        }
        if let Some(RewardScale { mean, std }) = self.reward_scale {
            set("mean", mean.into());
            set("std", std.into());
        }
        if let Some(prefix) = &self.value_head_prefix {
            set("value_head_prefix", prefix.as_str().into());
        }
        // The fields above win over `other`.
        for (key, value) in &self.other {
            map.entry(key).or_insert_with(|| value.clone());
        }
        map
    }
}

/// A number as JSON; as a string if it is not finite, which JSON cannot express (`null` would be read as
/// the default).
fn number(number: f64) -> Value {
    if number.is_finite() { number.into() } else { number.to_string().into() }
}

/// In the form of [`ConfigFile::from_json`].
impl<'de> Deserialize<'de> for ConfigFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// Reads JSON; the error names the field.
pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ConfigProblem> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        ConfigProblem::json(Some(path).filter(|path| path != "."), error.inner())
    })?;
    json.end().map_err(|error| ConfigProblem::json(None, &error))?;
    Ok(value)
}

impl TryFrom<Raw> for ConfigFile {
    type Error = ConfigProblem;

    fn try_from(raw: Raw) -> Result<Self, ConfigProblem> {
        let model = model(&raw)?;
        let reward_scale = match (raw.mean, raw.std) {
            (None, None) => None,
            (Some(mean), Some(std)) if std >= 0.0 => Some(RewardScale { mean, std }),
            (Some(_), Some(std)) => return Err(ConfigProblem::value("std", std, "a number, 0 or more")),
            (Some(mean), None) => return Err(ConfigProblem::value("mean", mean, "a field std too")),
            (None, Some(std)) => return Err(ConfigProblem::value("std", std, "a field mean too")),
        };
        let mut other = raw.other;
        OF_OTHER_FILES.iter().for_each(|key| drop(other.shift_remove(*key)));
        let slides = model.architecture == Architecture::Mistral && model.sliding_window.is_some();
        let attention = if slides { "sliding_attention" } else { "full_attention" };
        if let Some(unused) = unused::config_key(&other, attention) {
            return Err(ConfigProblem::value(unused.key, unused.value, unused.expected));
        }
        Ok(Self {
            model,
            dtype: raw.torch_dtype.or(raw.dtype),
            reward_scale,
            value_head_prefix: raw.value_head_prefix,
            other,
        })
    }
}

fn model(raw: &Raw) -> Result<ModelConfig, ConfigProblem> {
    let known =
        Architecture::ALL.into_iter().find(|architecture| architecture.model_type() == raw.model_type);
    let architecture = known.ok_or_else(|| ConfigProblem::Architecture {
        field: "model_type",
        got: raw.model_type.clone(),
        known: Architecture::KNOWN,
    })?;
    let classes = raw.architectures.as_deref().unwrap_or_default();
    let class_of = |architecture: Architecture| classes.iter().any(|class| class == architecture.class());
    if !class_of(architecture) && Architecture::ALL.into_iter().any(class_of) {
        let expected = format!("{}, as model_type is \"{architecture}\"", architecture.class());
        return Err(ConfigProblem::value("architectures", classes.join(", "), expected));
    }
    if let Some(activation) = raw.hidden_act.as_deref().filter(|activation| *activation != "silu") {
        return Err(ConfigProblem::value("hidden_act", format!("\"{activation}\""), "silu"));
    }
    for (field, bias) in [("attention_bias", raw.attention_bias), ("mlp_bias", raw.mlp_bias)] {
        if bias {
            return Err(ConfigProblem::value(field, bias, "false: models with biases are not supported"));
        }
    }
    if let Some(part) = raw.partial_rotary_factor.filter(|part| *part != 1.0) {
        return Err(ConfigProblem::value(
            "partial_rotary_factor",
            part,
            "1: rotary embedding of a part of a head is not supported",
        ));
    }
    let (rope_theta, rope_scaling) = rope(raw)?;
    let model = ModelConfig {
        architecture,
        vocab_size: raw.vocab_size,
        hidden_size: raw.hidden_size,
        intermediate_size: raw.intermediate_size,
        num_hidden_layers: raw.num_hidden_layers,
        num_attention_heads: raw.num_attention_heads,
        num_key_value_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
        head_dim: raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1)),
        rms_norm_eps: raw.rms_norm_eps,
        rope_theta,
        rope_scaling,
        max_position_embeddings: raw.max_position_embeddings,
        // transformers' Llama has no sliding window, and ignores the key.
        sliding_window: raw.sliding_window.filter(|_| architecture == Architecture::Mistral),
        tie_word_embeddings: raw.tie_word_embeddings,
        initializer_range: raw.initializer_range,
        bos_token_id: raw.bos_token_id.as_ref().and_then(|ids| ids.as_slice().first().copied()),
        eos_token_ids: raw.eos_token_id.iter().flat_map(Ids::as_slice).copied().collect(),
    };
    model.problem().map_or(Ok(model), Err)
}

/// Base and scaling of the rotary frequencies. Since transformers 5 both are in `rope_parameters`;
/// before, the scaling was in `rope_scaling` and the base in `rope_theta`. A value that is stated twice
/// must be the same.
fn rope(raw: &Raw) -> Result<(f64, Option<crate::RopeScaling>), ConfigProblem> {
    let places = [("rope_parameters", &raw.rope_parameters), ("rope_scaling", &raw.rope_scaling)];
    let (mut theta, mut scaling) = (raw.rope_theta, None);
    for (place, parameters) in
        places.into_iter().filter_map(|(place, parameters)| Some((place, parameters.as_ref()?)))
    {
        if let Some(stated) = parameters.rope_theta
            && *theta.get_or_insert(stated) != stated
        {
            let expected = format!("{}, as elsewhere in the config", theta.unwrap_or(stated));
            return Err(ConfigProblem::value(format!("{place}.rope_theta"), stated, expected));
        }
        let stated = parameters.scaling(place, raw.max_position_embeddings)?;
        if let (Some(first), Some(stated)) = (&scaling, &stated)
            && first != stated
        {
            return Err(ConfigProblem::value(
                place,
                format!("{stated:?}"),
                format!("{first:?}, as in rope_parameters"),
            ));
        }
        scaling = scaling.or(stated);
    }
    Ok((theta.unwrap_or(10_000.0), scaling))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::RopeScaling;

    fn text(extra: &str) -> String {
        format!(
            r#"{{"model_type":"mistral","vocab_size":8,"hidden_size":4,"intermediate_size":6,"num_hidden_layers":1,
                "num_attention_heads":2,"max_position_embeddings":16{extra}}}"#
        )
    }

    fn tiny(extra: &str) -> Result<ModelConfig> {
        ModelConfig::from_json(&text(extra))
    }

    #[test]
    fn a_written_config_is_read_back() {
        let config =
            tiny(r#","rope_parameters":{"rope_theta":5.0,"rope_type":"default"},"eos_token_id":[2,3],"sliding_window":4"#).unwrap();
        assert_eq!(
            (config.rope_theta, config.eos_token_ids.as_slice(), config.head_dim),
            (5.0, &[2, 3][..], 2)
        );
        assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
        assert_eq!(config.num_parameters(), 8 * 4 * 2 + 4 + (4 + 4 + 4 * 4 * 4 + 3 * 24));
    }

    /// The config of a trained reward model, written at revision 0a1c55a. Checkpoints are compared by
    /// these bytes.
    #[test]
    fn a_file_of_an_earlier_version_is_rewritten_byte_for_byte() {
        let text = include_str!("../../tests/fixtures/reward_model_config.json");
        let file = ConfigFile::from_json(text).unwrap();
        assert_eq!(file.to_json(), text);
        assert_eq!((file.dtype.as_deref(), file.other.len()), (Some("bfloat16"), 0));
        let model = ConfigFile::new(file.model.clone()).to_json();
        let (backbone, _) = text.split_once("  \"mean\"").unwrap();
        assert_eq!(model, backbone.replace("bfloat16\",", "float32\"") + "}\n");
    }

    #[test]
    fn end_of_sequence_tokens_are_one_or_several_and_those_of_the_generation_config() {
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
        let (path, generation_config) =
            (folder.path().join("config.json"), folder.path().join("generation_config.json"));
        std::fs::write(&path, tiny(r#","eos_token_id":3"#).unwrap().to_json()).unwrap();
        for (text, ids) in [
            (r#"{"temperature": 0.6, "eos_token_id": [5, 3, 6]}"#, &[3, 5, 6][..]),
            (r#"{"eos_token_id": 4}"#, &[3, 4]),
            (r#"{"eos_token_id": null}"#, &[3]),
            ("{}", &[3]),
        ] {
            std::fs::write(&generation_config, text).unwrap();
            assert_eq!(ModelConfig::read(&path).unwrap().eos_token_ids, ids, "{text}");
        }
        std::fs::write(&generation_config, r#"{"eos_token_id": "</s>"}"#).unwrap();
        assert!(
            matches!(ModelConfig::read(&path), Err(Error::Config { path, .. }) if path == generation_config)
        );
    }

    /// Tokens that the model's makers forbid were generated.
    #[test]
    fn generation_settings_that_force_tokens_are_refused_unless_they_are_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, tiny("").unwrap().to_json()).unwrap();
        for (key, forcing, neutral) in [
            ("bad_words_ids", "[[5]]", "[]"),
            ("begin_suppress_tokens", "[5]", "null"),
            ("forced_bos_token_id", "5", "null"),
            ("forced_eos_token_id", "[2, 3]", "null"),
            ("no_repeat_ngram_size", "3", "0"),
            ("sequence_bias", r#"{"5": 1.5}"#, "{}"),
            ("suppress_tokens", "[1, 2]", "[]"),
        ] {
            let read = |value: &str| {
                let text = format!(r#"{{"temperature": 0.6, "{key}": {value}}}"#);
                std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
                ModelConfig::read(&path)
            };
            read(neutral).unwrap_or_else(|error| panic!("{error}"));
            let error = read(forcing).unwrap_err().to_string();
            assert!(error.contains("generation_config.json") && error.contains(key), "{error}");
        }
    }

    #[test]
    fn rope_scaling_is_read_in_both_spellings_and_written() {
        let llama3 = r#""factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8"#;
        let expected = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8,
        };
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
        // If the context of pre-training is not stated, it is the model's, as in transformers.
        let short = tiny(
            r#","rope_scaling":{"rope_type":"llama3","factor":2,"low_freq_factor":1,"high_freq_factor":4}"#,
        )
        .unwrap();
        assert!(matches!(
            short.rope_scaling,
            Some(RopeScaling::Llama3 { original_max_position_embeddings: 16, .. })
        ));
        assert!(!tiny("").unwrap().to_json().contains("rope_scaling"));
    }

    #[test]
    fn an_unsupported_config_is_refused_with_field_value_and_expected_value() {
        for (extra, reason) in [
            (
                r#","rope_scaling":{"rope_type":"llama3"}"#,
                "rope_scaling.factor is missing: expected a number, since rope_type is \"llama3\"",
            ),
            (
                r#","rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}"#,
                "rope_scaling.low_freq_factor is 4: expected less than high_freq_factor, 4",
            ),
            (
                r#","rope_scaling":{"rope_type":"yarn","factor":2}"#,
                "rope_scaling.rope_type is \"yarn\": expected default, linear",
            ),
            (r#","rope_scaling":{"factor":2}"#, "rope_scaling.factor is 2: expected a rope_type too"),
            (
                r#","rope_parameters":{"full_attention":{"rope_type":"default","rope_theta":1e6},"sliding_attention":{"rope_theta":1e4}}"#,
                "rope_parameters.full_attention is an object: expected parameters for all layers",
            ),
            (r#","rope_scaling":"llama3""#, "rope_scaling: invalid type: string \"llama3\""),
            (
                r#","rope_scaling":{"type":"linear","factor":"2"}"#,
                "rope_scaling.factor: invalid type: string \"2\", expected f64",
            ),
            (
                r#","rope_scaling":{"rope_type":"linear","type":"yarn","factor":2}"#,
                "rope_scaling.type is \"yarn\": expected \"linear\"",
            ),
            (r#","rope_parameters":{"rope_type":"linear","factor":0}"#, "factor is 0"),
            (
                r#","rope_parameters":{"rope_type":"linear","factor":2},"rope_scaling":{"rope_type":"linear","factor":4}"#,
                "rope_scaling is Linear { factor: 4.0 }: expected Linear { factor: 2.0 }, as in rope_parameters",
            ),
            (
                r#","rope_theta":10,"rope_parameters":{"rope_theta":20,"rope_type":"default"}"#,
                "rope_parameters.rope_theta is 20: expected 10, as elsewhere in the config",
            ),
            (
                r#","rope_parameters":{"rope_type":"default","partial_rotary_factor":0.5}"#,
                "rope_parameters.partial_rotary_factor is 0.5: expected 1",
            ),
            (r#","partial_rotary_factor":0.5"#, "partial_rotary_factor is 0.5: expected 1"),
            (
                r#","rope_scaling":{"type":"longrope","attention_factor":1,"short_factor":[1,2],"long_factor":[1,2]}"#,
                "rope_scaling.short_factor is 2 factors: expected 1 for heads of 2",
            ),
            (
                r#","rope_scaling":{"type":"longrope","attention_factor":1,"short_factor":[1],"long_factor":[2]}"#,
                "expected the same list",
            ),
            (
                r#","num_key_value_heads":3"#,
                "num_key_value_heads is 3: expected a divisor of num_attention_heads, 2",
            ),
            (r#","head_dim":3"#, "head_dim is 3: expected an even number"),
            (r#","attention_bias":true"#, "attention_bias is true: expected false"),
            (r#","hidden_act":"gelu""#, "hidden_act is \"gelu\": expected silu"),
            (r#","sliding_window":0"#, "sliding_window is 0: expected at least 1"),
            (r#","num_key_value_heads":1,"head_dim":1000000000"#, "head_dim is 1000000000: expected at most"),
            (
                r#","head_dim":10000000"#,
                "head_dim is 10000000: expected at most 16777216 elements in all 2 heads",
            ),
            (
                r#","architectures":["LlamaForCausalLM"]"#,
                "architectures is LlamaForCausalLM: expected MistralForCausalLM, as model_type",
            ),
            (r#","mean":0.5"#, "mean is 0.5: expected a field std too"),
            (r#","mean":0.5,"std":-1"#, "std is -1: expected a number, 0 or more"),
            (r#","mean":"high","std":1"#, "mean: invalid type: string \"high\", expected f64"),
            (r#","value_head_prefix":7"#, "value_head_prefix: invalid type: integer `7`, expected a string"),
            (r#","eos_token_id":"</s>""#, "eos_token_id: expected a token id or a list of them"),
        ] {
            let error = tiny(extra).unwrap_err();
            assert!(error.to_string().contains(reason), "{extra}: {error}");
        }
        let text = tiny("").unwrap().to_json();
        let error = |text: &str| ModelConfig::from_json(text).unwrap_err();
        let endless = text.replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1000000000");
        assert!(error(&endless).to_string().contains("num_hidden_layers is 1000000000: expected at most"));
        assert!(
            error(&text.replace("vocab_size", "vocabulary"))
                .to_string()
                .contains("missing field `vocab_size`")
        );
        let qwen = error(&text.replace("\"mistral\"", "\"qwen2\""));
        assert!(
            matches!(qwen, Error::ModelConfig(ConfigProblem::Architecture { ref got, .. }) if got == "qwen2"),
            "{qwen}"
        );
    }

    #[test]
    fn a_config_that_was_changed_to_an_invalid_one_is_refused() {
        let mut config = tiny("").unwrap();
        config.check().unwrap();
        config.rope_theta = f64::INFINITY;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "the model's config: rope_theta is inf: expected a finite number above 0"
        );
        assert!(ModelConfig::from_json(&config.to_json()).is_err());
        let folder = tempfile::tempdir().unwrap();
        let written = crate::ModelFolder::new(folder.path()).write_config(&ConfigFile::new(config));
        assert!(matches!(written, Err(Error::ModelConfig(_))) && !folder.path().join("config.json").exists());
    }

    #[test]
    fn unknown_keys_are_kept_except_those_that_describe_other_files() {
        let config = r#","pad_token_id":0,"use_cache":true,"dtype":"bfloat16","mean":1.5,"std":2.0,"value_head_prefix":"score",
            "quantization_config":{"bits":4},"auto_map":{"AutoModel":"x.py"},"_name_or_path":"base""#;
        let file = ConfigFile::from_json(&text(config)).unwrap();
        assert_eq!(file.other.keys().collect::<Vec<_>>(), ["pad_token_id", "use_cache", "_name_or_path"]);
        assert_eq!(
            (file.dtype.as_deref(), file.value_head_prefix.as_deref()),
            (Some("bfloat16"), Some("score"))
        );
        assert_eq!(file.reward_scale, Some(RewardScale { mean: 1.5, std: 2.0 }));
        assert_eq!(ConfigFile::from_json(&file.to_json()).unwrap(), file);
        // A known key in `other` has no effect.
        let mut twice = file.clone();
        twice.other.insert("vocab_size".into(), 9.into());
        assert_eq!(ConfigFile::from_json(&twice.to_json()).unwrap(), file);
    }

    #[test]
    fn serde_uses_the_form_of_the_file() {
        let config = tiny(r#","sliding_window":4"#).unwrap();
        let value = serde_json::to_value(&config).unwrap();
        assert_eq!((&value["model_type"], &value["sliding_window"]), (&"mistral".into(), &4.into()));
        assert_eq!(serde_json::from_value::<ModelConfig>(value).unwrap(), config);
    }
}
