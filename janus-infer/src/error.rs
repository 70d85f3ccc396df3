//! The crate's error.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{ConfigProblem, TemplateProblem};

/// What can go wrong when a model is loaded or run. Each variant says where it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason; its kind says whether the file is missing.
        error: std::io::Error,
    },
    /// A `config.json`, or another JSON file in its folder, that cannot be used.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ConfigProblem,
    },
    /// A config that was made in code and describes no valid model.
    #[error("the model's config: {0}")]
    ModelConfig(ConfigProblem),
    /// A weights file whose header or index cannot be understood.
    #[error("{}: not a readable weights file: {}{problem}", path.display(), of_tensor(tensor.as_deref()))]
    Header {
        /// The file.
        path: PathBuf,
        /// The tensor whose entry is bad; `None` if the fault is elsewhere in the header.
        tensor: Option<String>,
        /// What is wrong with it.
        problem: FormatProblem,
    },
    /// A tensor that the model needs and the file does not have.
    #[error("{}: no tensor {name}: is this the checkpoint of another model?", path.display())]
    MissingTensor {
        /// The file, or the folder of a sharded checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Tensors that the model would not use, although they change what it computes.
    #[error(
        "{}: no part of this model uses the tensor {name}{}: it belongs to another architecture, or to a variant that this version does not run",
        path.display(), and_others(*others)
    )]
    UnusedTensors {
        /// The file, or the folder of a sharded checkpoint.
        path: PathBuf,
        /// The first of the tensors.
        name: String,
        /// How many more there are.
        others: usize,
    },
    /// A LoRA adapter in a model's folder, which would not be applied.
    #[error(
        "{}: a LoRA adapter lies beside the weights and would not be applied: merge it into them (merge_and_unload of peft), or move it away",
        path.display()
    )]
    AdapterBeside {
        /// Its config.
        path: PathBuf,
    },
    /// A model without a value head, where a reward model is needed.
    #[error("{}: no value head: expected a file value_head.safetensors, or a tensor {name} among the weights", path.display())]
    NoValueHead {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor that was looked for.
        name: String,
    },
    /// A tensor whose shape differs from the one that the config implies.
    #[error("{}: tensor {name} has shape {got:?}: the config implies {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the config implies.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// A tensor whose stated byte range ends beyond the file: the file is truncated, or its header is wrong.
    #[error("{}: tensor {name} should be bytes {start} to {end}, but the file has {file_len} bytes: download it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its first byte in the file.
        start: u64,
        /// The byte after its last.
        end: u64,
        /// Length of the file in bytes.
        file_len: u64,
    },
    /// A tensor whose byte range does not fit its shape and type.
    #[error("{}: tensor {name} has {got} bytes, expected {expected}: the file is damaged", path.display())]
    TensorSize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The number of bytes that shape and type imply.
        expected: String,
        /// The number of bytes in the header.
        got: u64,
    },
    /// A quantised tensor whose rows are not a whole number of blocks.
    #[error(
        "{}: tensor {name}, bytes {start} to {end}, has rows of {row} weights: {dtype} needs a multiple of {block}: the file is damaged",
        path.display()
    )]
    PartialBlocks {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its first byte in the file.
        start: u64,
        /// The byte after its last, counted as if blocks could span rows.
        end: u64,
        /// Weights in a row.
        row: usize,
        /// Weights in a block.
        block: usize,
        /// Its type.
        dtype: String,
    },
    /// Two tensors whose stated byte ranges overlap.
    #[error("{}: tensor {name} should begin at byte {start}, but tensor {before} ends at {end}: the file is damaged", path.display())]
    Overlap {
        /// The file.
        path: PathBuf,
        /// The tensor that begins too early.
        name: String,
        /// Its first byte in the file.
        start: u64,
        /// The tensor before it.
        before: String,
        /// The byte after its last.
        end: u64,
    },
    /// A tensor of a type that is not supported.
    #[error("{}: tensor {name} has type {got}: expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        got: String,
    },
    /// A GGUF file lacks a metadata entry that is needed, or has one that cannot be used.
    #[error("{}: metadata {key}: {problem}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The entry's key.
        key: String,
        /// What is wrong with it.
        problem: FormatProblem,
    },
    /// A quantised tensor that candle could not read.
    #[error("{}: tensor {name}: {error}", path.display())]
    Quantized {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// candle's reason.
        error: Box<candle_core::Error>,
    },
    /// A model without a usable chat template.
    #[error("{}: {problem}: name the template that the model was trained with, mistral-instruct or chatml", path.display())]
    Template {
        /// The file that should state it.
        path: PathBuf,
        /// Why it cannot be used.
        problem: TemplateProblem,
    },
    /// A chat template in Jinja that cannot be compiled, or that refuses a conversation.
    #[cfg(feature = "jinja")]
    #[error("the chat template: {0}")]
    Jinja(minijinja::Error),
    /// A tokenizer that cannot be read, a conversation that the template refuses or the tokenizer cannot
    /// encode, a file that cannot be written.
    #[error(transparent)]
    Data(Box<janus_data::Error>),
    /// A device that the crate was not built for.
    #[error(
        "the device {got} needs the feature {feature} of janus-infer: build with it, or pass Device::Cpu"
    )]
    Device {
        /// The device.
        got: String,
        /// The cargo feature that is missing.
        feature: &'static str,
    },
    /// A KV cache that was made by another model.
    #[error("the KV cache was made by another model: take one from Model::cache of the model that runs it")]
    ForeignCache,
    /// A token id outside the vocabulary.
    #[error(
        "token id {id} is outside the model's vocabulary of {vocab_size}: does the tokenizer belong to another model?"
    )]
    TokenId {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// Logits from which no token can be sampled: the weights are damaged, or overflow the type that
    /// they are computed in.
    #[error(
        "no token can be sampled from the logits: {got}: are the weights damaged, or too large for their type?"
    )]
    Logits {
        /// What is wrong with them.
        got: &'static str,
    },
    /// A sequence without a token to run.
    #[error("a sequence of the batch has no tokens: give each at least one")]
    NoTokens,
    /// An unknown device name.
    #[error("unknown device \"{got}\": expected cpu, cuda, cuda:N, metal or metal:N")]
    DeviceName {
        /// The name as written.
        got: String,
    },
    /// A device that does not exist, or that does not start.
    #[error("the device {device}: {error}")]
    DeviceStart {
        /// The device.
        device: crate::DeviceName,
        /// candle's reason.
        error: candle_core::Error,
    },
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// Names the file in an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |error| Self::Io { path, error }
    }
}

impl From<janus_data::Error> for Error {
    fn from(error: janus_data::Error) -> Self {
        Self::Data(Box::new(error))
    }
}

#[cfg(feature = "jinja")]
impl From<minijinja::Error> for Error {
    fn from(error: minijinja::Error) -> Self {
        Self::Jinja(error)
    }
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and {others} others") }
}

fn of_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!("tensor {name}: ")).unwrap_or_default()
}

/// What is wrong with a part of a weights file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// It is missing.
    #[error("it is missing")]
    Missing,
    /// It occurs twice.
    #[error("it occurs twice")]
    Twice,
    /// It extends beyond the end of the file.
    #[error("{what} should be {length} bytes at offset {start}, but the file is only {file_len} bytes long")]
    Truncated {
        /// The part.
        what: Box<str>,
        /// Its length in bytes.
        length: u64,
        /// Its first byte in the file.
        start: u64,
        /// Bytes of the file.
        file_len: u64,
    },
    /// It cannot be used.
    #[error("{what} is {got}: expected {expected}")]
    Value {
        /// The part; "it" for the whole.
        what: Box<str>,
        /// Its value.
        got: Box<str>,
        /// The values that can be used.
        expected: Box<str>,
    },
    /// Another library refuses it: the JSON parser, or the tokenizers crate.
    #[error("{message}")]
    Refused {
        /// That library's message.
        message: Box<str>,
    },
}

impl FormatProblem {
    pub(crate) fn value(
        what: impl Into<Box<str>>,
        got: impl fmt::Display,
        expected: impl Into<Box<str>>,
    ) -> Self {
        Self::Value { what: what.into(), got: got.to_string().into(), expected: expected.into() }
    }

    pub(crate) fn refused(error: impl fmt::Display) -> Self {
        Self::Refused { message: error.to_string().into() }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
