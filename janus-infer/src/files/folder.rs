//! A model on disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use janus_data::Tokenizer;
use serde_json::{Map, Value};

use super::config_file::parse;
use super::gguf::{self, GgufFile, is_gguf};
use super::{ConfigFile, RewardLayout, Template, VALUE_HEAD, ValueHead, Weights};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const HEAD: &str = "value_head.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const SENTENCEPIECE: &str = "tokenizer.model";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Keys of a `tokenizer_config.json` that say how a class of transformers makes its tokenizer, and that have
/// no meaning for a `tokenizer.json` that is whole.
const OF_A_CLASS: [&str; 7] = [
    "add_eos_token",
    "add_prefix_space",
    "auto_map",
    "from_slow",
    "legacy",
    "sp_model_kwargs",
    "use_default_system_prompt",
];

/// A model on disk: a folder in the layout of Hugging Face, or a GGUF file, which contains everything
/// but a value head.
///
/// | file | what it holds |
/// | --- | --- |
/// | `config.json` | the architecture, the reward scale, keys of other programs ([`ConfigFile`]) |
/// | `generation_config.json` | more end-of-sequence tokens; optional |
/// | `model.safetensors`, or shards and their index | the weights ([`Weights`]) |
/// | `value_head.safetensors` | the value head of a reward model ([`ValueHead`]) |
/// | `tokenizer.json` | the tokenizer |
/// | `tokenizer_config.json`, `chat_template.jinja` | the chat template ([`Template`]) |
///
/// Each file is read only when it is needed, so a folder need not have all of them.
///
/// ```
/// use janus_infer::{ConfigFile, ModelConfig, ModelFolder, ModelSizes};
///
/// # let out = tempfile::tempdir()?;
/// let sizes = ModelSizes {
///     vocab_size: 300,
///     hidden_size: 16,
///     intermediate_size: 32,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     num_key_value_heads: 2,
///     max_position_embeddings: 64,
/// };
/// let folder = ModelFolder::new(out.path());
/// folder.write_config(&ConfigFile::new(ModelConfig::mistral(sizes)))?;
/// assert_eq!(folder.config()?.model, ModelConfig::mistral(sizes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ModelFolder {
    path: PathBuf,
    /// Opened once.
    gguf: OnceLock<Arc<GgufFile>>,
}

impl ModelFolder {
    /// The model at a path: a folder, a `.safetensors` file in one, or a `.gguf` file. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), gguf: OnceLock::new() }
    }

    /// The path it was made with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A name for the model: that of its folder, or that of its file without `.gguf` or `.safetensors`.
    ///
    /// ```
    /// use janus_infer::ModelFolder;
    /// assert_eq!(ModelFolder::new("models/Llama-3.2-1B-Instruct").name().as_deref(), Some("Llama-3.2-1B-Instruct"));
    /// assert_eq!(ModelFolder::new("models/smollm2-q4_1.gguf").name().as_deref(), Some("smollm2-q4_1"));
    /// ```
    pub fn name(&self) -> Option<String> {
        let name = self.path.file_name()?.to_string_lossy();
        let stem = [".gguf", ".safetensors"].into_iter().find_map(|extension| name.strip_suffix(extension));
        Some(stem.unwrap_or(&name).to_string())
    }

    /// The path that weights are written to.
    pub fn weights_path(&self) -> PathBuf {
        self.file(WEIGHTS)
    }

    /// The path that a value head is written to, as one tensor named [`VALUE_HEAD`].
    pub fn value_head_path(&self) -> PathBuf {
        self.file(HEAD)
    }

    /// The config; for a GGUF file, from its metadata.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], [`Error::Metadata`].
    pub fn config(&self) -> Result<ConfigFile> {
        match self.gguf()? {
            Some(file) => Ok(ConfigFile::new(file.config()?)),
            None => ConfigFile::read(self.file(CONFIG)),
        }
    }

    /// Opens the weights: reads the headers of their files.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn weights(&self) -> Result<Weights> {
        match self.gguf()? {
            Some(file) => Ok(Weights::of_gguf(&self.path, Arc::clone(file))),
            None => Weights::open(&self.path),
        }
    }

    /// The value head: from `value_head.safetensors`, which `janus-train` writes, or from the weights,
    /// where OpenRLHF writes it under the name in the config's `value_head_prefix`, or else
    /// [`VALUE_HEAD`]. `None` if there is neither.
    ///
    /// # Errors
    /// [`Error::NoValueHead`] if the config names a tensor that does not exist, and those of
    /// [`Weights::read`].
    pub fn value_head(&self, config: &ConfigFile, weights: &Weights) -> Result<Option<ValueHead>> {
        let shape = [1, config.model.hidden_size];
        let separate = self.value_head_path();
        if separate.exists() {
            let values = Weights::open(&separate)?.read(VALUE_HEAD, &shape)?;
            return Ok(Some(ValueHead { values, layout: RewardLayout::Conversation }));
        }
        let stated = config.value_head_prefix.as_ref().map(|prefix| format!("{prefix}.weight"));
        let name = stated.as_deref().unwrap_or(VALUE_HEAD);
        match weights.names().iter().any(|known| known == name) {
            true => {
                Ok(Some(ValueHead { values: weights.read(name, &shape)?, layout: RewardLayout::OpenRlhf }))
            }
            false if stated.is_some() => Err(self.no_value_head(name)),
            false => Ok(None),
        }
    }

    /// The error of a model that should have a value head.
    pub(crate) fn no_value_head(&self, name: &str) -> Error {
        Error::NoValueHead { path: self.path.clone(), name: name.into() }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::Data`] for a `tokenizer.json` that cannot be read, [`Error::Metadata`] for a GGUF file.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        match self.gguf()? {
            Some(file) => gguf::tokenizer(file),
            None => Tokenizer::read(self.file(TOKENIZER)).map_err(Error::from),
        }
    }

    /// The chat template: one of [`ChatTemplate`](janus_core::ChatTemplate) if the model's own formats
    /// conversations in the same way, else its own.
    ///
    /// # Errors
    /// [`Error::Template`] if there is no usable one, [`Error::Io`], [`Error::Config`].
    pub fn template(&self, tokenizer: &Tokenizer) -> Result<Template> {
        match self.gguf()? {
            Some(file) => Template::of_gguf(&self.path, file, tokenizer),
            None => Template::of_folder(self.folder(), tokenizer),
        }
    }

    /// Whether a text begins with the model's first token, if a GGUF file says so.
    pub(crate) fn adds_bos(&self) -> Result<Option<bool>> {
        Ok(self.gguf()?.and_then(|file| gguf::adds_bos(file)))
    }

    /// Writes `config.json`, whole or not at all, into the folder, which is made if need be.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] for a config that [`ModelConfig::check`](crate::ModelConfig::check)
    /// refuses, [`Error::Data`] if the file cannot be written.
    pub fn write_config(&self, config: &ConfigFile) -> Result<()> {
        config.model.check()?;
        let path = self.file(CONFIG);
        Ok(janus_data::write_file(path, config.to_json().as_bytes())?)
    }

    /// Writes the tokenizer and the chat template in the files that transformers, vLLM and llama.cpp's
    /// converter read. Settings of the tokenizer and of generation that `source`, the model that was trained,
    /// has and that do not contradict them are kept: padding, truncation, sampling.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Config`] for a file of `source` that cannot be read, [`Error::Data`] if a
    /// file cannot be written.
    pub fn write_tokenizer(
        &self,
        tokenizer: &Tokenizer,
        template: &Template,
        source: Option<&Self>,
    ) -> Result<()> {
        let settings = |name| source.map(|source| source.settings(name)).transpose();
        let mut config = settings(TOKENIZER_CONFIG)?.flatten().unwrap_or_default();
        match template {
            Template::Typed(template) => {
                // Its class may change what the tokenizer does.
                config.retain(|key, _| !OF_A_CLASS.contains(&key.as_str()));
                for (key, value) in tokenizer.config_with_template(*template)? {
                    // A template without a first token leaves the model's own as it was.
                    if !value.is_null() || !config.contains_key(&key) {
                        config.insert(key, value);
                    }
                }
            }
            #[cfg(feature = "jinja")]
            Template::Jinja(template) => {
                let tokens =
                    template.tokens().iter().map(|(name, token)| (name.clone(), Value::from(token.as_str())));
                config.extend(tokens);
                config.insert("chat_template".into(), template.source().into());
            }
            Template::Absent(_) => {}
        }
        let written = match template {
            Template::Typed(template) => tokenizer.for_template(*template),
            _ => tokenizer.clone(),
        };
        written.save(self.file(TOKENIZER))?;
        if let Some(model) = tokenizer.sentencepiece_model()? {
            janus_data::write_file(self.file(SENTENCEPIECE), &model)?;
        }
        self.write_settings(TOKENIZER_CONFIG, config)?;
        if let Some(mut generation) = settings(GENERATION_CONFIG)?.flatten() {
            let trained = self.config()?.to_map();
            for key in ["bos_token_id", "eos_token_id"] {
                generation.insert(key.into(), trained.get(key).cloned().unwrap_or(Value::Null));
            }
            self.write_settings(GENERATION_CONFIG, generation)?;
        }
        Ok(())
    }

    /// The object in a JSON file of the folder; `None` if the folder has no such file.
    fn settings(&self, name: &str) -> Result<Option<Map<String, Value>>> {
        let path = self.file(name);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        parse(&text).map(Some).map_err(|problem| Error::Config { path, problem })
    }

    fn write_settings(&self, name: &str, settings: Map<String, Value>) -> Result<()> {
        let text = format!("{:#}\n", Value::Object(settings));
        Ok(janus_data::write_file(self.file(name), text.as_bytes())?)
    }

    /// The folder that the files are in.
    fn folder(&self) -> &Path {
        match self.path.is_file() {
            true => self.path.parent().unwrap_or(&self.path),
            false => &self.path,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn gguf(&self) -> Result<Option<&Arc<GgufFile>>> {
        if !is_gguf(&self.path) {
            return Ok(None);
        }
        if let Some(file) = self.gguf.get() {
            return Ok(Some(file));
        }
        let file = Arc::new(GgufFile::open(&self.path)?);
        Ok(Some(self.gguf.get_or_init(|| file)))
    }
}
