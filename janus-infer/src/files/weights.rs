//! Weights by name, from safetensors or GGUF.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::Matrix;
use super::gguf::{GgufFile, is_gguf};
use super::safetensors::Shards;
#[cfg(doc)]
use crate::Error;
use crate::{ModelConfig, Result};

/// The weights of a checkpoint, by their Hugging Face names.
///
/// Opening reads the headers only; a tensor is read, and converted to `f32`, when it is asked for. Nothing is
/// believed before it is checked against the file's length, so that a cut or forged file is an error and not an
/// allocation of whatever size it claims.
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
    /// The files are mapped into memory for as long as these weights live, and must not be changed in place meanwhile: a file
    /// that is cut then ends the process. Replacing one by another of its name does no harm.
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

    /// The model's config: `config.json` beside the safetensors, or the GGUF file's metadata.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] or [`Error::Metadata`].
    pub fn config(&self) -> Result<ModelConfig> {
        match &self.source {
            Source::Safetensors(_) if self.path.is_file() => ModelConfig::read(self.path.with_file_name("config.json")),
            Source::Safetensors(_) => ModelConfig::read(self.path.join("config.json")),
            Source::Gguf(file) => file.config(),
        }
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        match &self.source {
            Source::Safetensors(shards) => shards.names(),
            Source::Gguf(file) => file.names(),
        }
    }

    /// Reads a tensor of the given shape as `f32`, row-major. Quantised ones are de-quantised, and GGUF's order
    /// of query and key rows is undone.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`], [`Error::Truncated`], [`Error::TensorSize`], [`Error::Quantized`].
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match &self.source {
            Source::Safetensors(shards) => shards.read(name, shape),
            Source::Gguf(file) => file.read(name, shape),
        }
    }

    /// Reads a matrix of the given shape as the file has it, or as `f32` where its type is one that is not computed with.
    pub(crate) fn matrix(&self, name: &str, rows: usize, depth: usize) -> Result<Matrix<'_>> {
        match &self.source {
            Source::Safetensors(shards) => shards.matrix(name, rows, depth),
            Source::Gguf(file) => file.matrix(name, rows, depth),
        }
    }

    /// [`Weights::read`] as a candle tensor.
    ///
    /// # Errors
    /// Those of [`Weights::read`], and candle's.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.read(name, shape)?, shape, device)?)
    }
}
