//! What can go wrong when a model is loaded or run.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{ConfigProblem, TemplateProblem};

/// The crate's error; each variant says where it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason; its kind tells a missing file.
        error: std::io::Error,
    },
    /// A `config.json`, or another JSON file beside it, that cannot be used.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ConfigProblem,
    },
    /// A config, not from a file, of a model that cannot be built.
    #[error("the model's config: {0}")]
    ModelConfig(ConfigProblem),
    /// A weights file whose header or index cannot be understood.
    #[error("{}: not a readable weights file: {}{problem}", path.display(), of_tensor(tensor.as_deref()))]
    Header {
        /// The file.
        path: PathBuf,
        /// The tensor whose entry it is, if it is one.
        tensor: Option<String>,
        /// What is wrong with it.
        problem: FormatProblem,
    },
    /// A tensor that the model needs and the file does not have.
    #[error("{}: there is no tensor {name}: is this the checkpoint of another model?", path.display())]
    MissingTensor {
        /// The file, or the folder of a sharded checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A model without a value head, where a reward model is needed.
    #[error("{}: there is no value head: neither a value_head.safetensors nor, among the weights, the tensor {name}", path.display())]
    NoValueHead {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor that was looked for.
        name: String,
    },
    /// A tensor of a shape that does not follow from the config.
    #[error("{}: tensor {name} has shape {got:?}, expected {expected:?} by the config", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that follows from the config.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// A tensor that is said to lie outside the file: the file was cut, or its header lies.
    #[error("{}: tensor {name} should be bytes {start} to {end}, but the file has {file_len}: fetch it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its first byte in the file.
        start: u64,
        /// The byte after its last.
        end: u64,
        /// Bytes of the file.
        file_len: u64,
    },
    /// A tensor whose byte range does not fit its shape and type.
    #[error("{}: tensor {name} has {got} bytes, expected {expected}: the file is damaged", path.display())]
    TensorSize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What follows from shape and type.
        expected: String,
        /// Bytes that the header gives it.
        got: u64,
    },
    /// A quantised tensor whose rows are no whole blocks.
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
        /// The byte after its last, if its blocks went over from row to row.
        end: u64,
        /// Weights of a row.
        row: usize,
        /// Weights of a block.
        block: usize,
        /// Its type.
        dtype: String,
    },
    /// Two tensors that are said to lie in the same bytes.
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
    /// A tensor of a type that is not read.
    #[error("{}: tensor {name} has type {got}: expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        got: String,
    },
    /// A GGUF file without a metadata entry that is needed, or with one that cannot be used.
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
    /// A model without a chat template that can be used.
    #[error("{}: {problem}: choose mistral-instruct or chatml yourself (EngineOptions::template, RewardOptions::template)", path.display())]
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
    /// A tokenizer that cannot be read, a conversation that the template does not take or the tokenizer cannot encode, a file
    /// that cannot be written.
    #[error(transparent)]
    Data(Box<janus_data::Error>),
    /// A device that the crate was not built for.
    #[error("the device {got} needs the feature {feature} of janus-infer: build with it, or pass Device::Cpu")]
    Device {
        /// The device.
        got: String,
        /// The cargo feature that lacks.
        feature: &'static str,
    },
    /// A sequence's cache that another model made.
    #[error("a cache belongs to the model that made it: take it from this model's Model::cache")]
    ForeignCache,
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the model's vocabulary of {vocab_size}: is the tokenizer another model's?")]
    TokenId {
        /// The id.
        id: u32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// Logits of which no token can be chosen: the weights are damaged, or too large for the type that they are computed in.
    #[error("the model's logits cannot be sampled, {got}: are the weights damaged, or too large for their type?")]
    Logits {
        /// What is wrong with them.
        got: &'static str,
    },
    /// A sequence was fed no token.
    #[error("a sequence was fed no token: give each at least one")]
    NoTokens,
    /// A name that is no device's.
    #[error("the device is \"{got}\": expected cpu, cuda, metal, or one of the last two with a number, as in cuda:1")]
    DeviceName {
        /// The name as written.
        got: String,
    },
    /// A device that is not there, or that does not start.
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

fn of_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!("tensor {name}: ")).unwrap_or_default()
}

/// What is wrong with a part of a weights file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It is there twice.
    #[error("it is there twice")]
    Twice,
    /// It goes beyond the end of the file.
    #[error("{what} should be {length} bytes from {start}, but the file has {file_len}")]
    Truncated {
        /// Of which part.
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
        /// Of which part: "it" for all of it.
        what: Box<str>,
        /// What is there.
        got: Box<str>,
        /// What can be used.
        expected: Box<str>,
    },
    /// Another library refuses it: the JSON parser, or the tokenizers.
    #[error("{message}")]
    Refused {
        /// In that library's words.
        message: Box<str>,
    },
}

impl FormatProblem {
    pub(crate) fn value(what: impl Into<Box<str>>, got: impl fmt::Display, expected: impl Into<Box<str>>) -> Self {
        Self::Value { what: what.into(), got: got.to_string().into(), expected: expected.into() }
    }

    pub(crate) fn refused(error: impl fmt::Display) -> Self {
        Self::Refused { message: error.to_string().into() }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
