//! The weights of a checkpoint, from safetensors or GGUF.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::gguf::{GgufFile, ROPE_FACTORS, is_gguf};
use super::safetensors::Shards;
use super::{ConfigFile, Matrix, VALUE_HEAD, unused};
use crate::{Error, ModelConfig, Result};

const LM_HEAD: &str = "lm_head.weight";

/// The weights of a checkpoint, by their Hugging Face names.
///
/// Opening reads only the headers. A tensor is read, and converted to `f32`, when it is requested. All
/// sizes are checked against the length of the file, so that a truncated or malicious file gives an
/// error and not a huge allocation.
pub struct Weights {
    path: PathBuf,
    source: Source,
}

enum Source {
    Safetensors(Shards),
    Gguf(Arc<GgufFile>),
}

impl Weights {
    /// Opens a folder with `model.safetensors` (or its shards and `model.safetensors.index.json`), a single
    /// `.safetensors` file, or a `.gguf` file.
    ///
    /// The files stay mapped into memory as long as this value lives, and must not be changed in place
    /// meanwhile: truncating one would crash the process. Replacing a file by renaming another one is
    /// safe.
    ///
    /// # Errors
    /// [`Error::Io`], or what is wrong with a header, an index, or a tensor's byte range.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if is_gguf(path) {
            return Ok(Self::of_gguf(path, Arc::new(GgufFile::open(path)?)));
        }
        Ok(Self { path: path.into(), source: Source::Safetensors(Shards::open(path)?) })
    }

    pub(super) fn of_gguf(path: &Path, file: Arc<GgufFile>) -> Self {
        Self { path: path.into(), source: Source::Gguf(file) }
    }

    /// The model's config, from the `config.json` in the folder of the safetensors file or from the GGUF
    /// file's metadata.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] or [`Error::Metadata`].
    pub fn config(&self) -> Result<ModelConfig> {
        match &self.source {
            Source::Safetensors(_) if self.path.is_file() => {
                ModelConfig::read(self.path.with_file_name("config.json"))
            }
            Source::Safetensors(_) => ModelConfig::read(self.path.join("config.json")),
            Source::Gguf(file) => file.config(),
        }
    }

    /// The names of all tensors, sorted. A tensor of a GGUF file that has no Hugging Face name has its own.
    pub fn names(&self) -> Vec<String> {
        match &self.source {
            Source::Safetensors(shards) => shards.names(),
            Source::Gguf(file) => file.names(),
        }
    }

    /// Refuses tensors that a model of this config does not use: its answers would be those of another
    /// model.
    ///
    /// # Errors
    /// [`Error::UnusedTensors`] names the first of them, [`Error::MissingTensor`] a tensor that the model
    /// lacks beside them.
    pub fn check_all_used(&self, config: &ConfigFile) -> Result<()> {
        let names = self.names();
        let mut used: HashSet<String> = config.model.tensors().into_iter().map(|(name, _)| name).collect();
        used.extend([VALUE_HEAD.into(), ROPE_FACTORS.into()]);
        used.extend(config.value_head_prefix.as_ref().map(|prefix| format!("{prefix}.weight")));
        let mut unused = unused::tensors(&names, &used);
        if self.has_other_head(&config.model)? {
            unused.push(LM_HEAD.into());
        }
        // Of a tensor under a wrong name, the right one says more. A reward model needs no head of its own.
        let lacking = |(name, _): &(String, Vec<usize>)| name != LM_HEAD && !names.contains(name);
        if !unused.is_empty()
            && let Some((name, _)) = config.model.tensors().into_iter().find(lacking)
        {
            return Err(Error::MissingTensor { path: self.path.clone(), name });
        }
        match unused.first() {
            None => Ok(()),
            Some(first) => Err(Error::UnusedTensors {
                path: self.path.clone(),
                name: first.clone(),
                others: unused.len() - 1,
            }),
        }
    }

    /// Whether a config that ties the head to the embedding contradicts the head that is stored.
    fn has_other_head(&self, model: &ModelConfig) -> Result<bool> {
        let Source::Safetensors(shards) = &self.source else { return Ok(false) };
        if !model.tie_word_embeddings || !self.names().iter().any(|name| name == LM_HEAD) {
            return Ok(false);
        }
        let shape = [model.vocab_size, model.hidden_size];
        Ok(!shards.are_equal(LM_HEAD, "model.embed_tokens.weight", &shape)?)
    }

    /// Reads a tensor of the given shape as `f32`, row-major. Quantised tensors are dequantised, and
    /// GGUF's reordering of the rows of `q_proj` and `k_proj` is undone.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`], [`Error::Truncated`],
    /// [`Error::TensorSize`], [`Error::Quantized`].
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match &self.source {
            Source::Safetensors(shards) => shards.read(name, shape),
            Source::Gguf(file) => file.read(name, shape),
        }
    }

    /// Reads a matrix of the given shape in the encoding of its file, or as `f32` if that is no
    /// [`Encoding`](super::Encoding).
    pub(crate) fn matrix(&self, name: &str, rows: usize, depth: usize) -> Result<Matrix<'_>> {
        match &self.source {
            Source::Safetensors(shards) => shards.matrix(name, rows, depth),
            Source::Gguf(file) => file.matrix(name, rows, depth),
        }
    }

    /// Reads a tensor, as [`Weights::read`], into a candle tensor.
    ///
    /// # Errors
    /// Those of [`Weights::read`], and candle's.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.read(name, shape)?, shape, device)?)
    }
}
