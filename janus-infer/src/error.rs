//! What can go wrong when a model is loaded or run.

use std::path::PathBuf;

/// The crate's error; each variant says where it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A `config.json` that this crate cannot run.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The text of a model's config that this crate cannot run.
    #[error("not the config of a model: {reason}")]
    ConfigText {
        /// What is wrong with it.
        reason: String,
    },
    /// A weights file whose header or index cannot be understood.
    #[error("{}: not a readable weights file: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the model needs and the file does not have.
    #[error("{}: there is no tensor {name}: is this the checkpoint of another model?", path.display())]
    MissingTensor {
        /// The file, or the folder of a sharded checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A checkpoint that is no reward model's.
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
    #[error("{}: metadata {key}: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The entry's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A quantised tensor that candle could not read.
    #[error("{}: tensor {name}: {source}", path.display())]
    Quantized {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// candle's reason.
        source: Box<candle_core::Error>,
    },
    /// A chat template that lacks, is no Jinja, or, without the feature `jinja`, is none of the known ones.
    #[error("{}: {reason}: choose mistral-instruct or chatml yourself (EngineOptions::template, RewardOptions::template)", path.display())]
    Template {
        /// The file that should tell it.
        path: PathBuf,
        /// Why it does not.
        reason: String,
    },
    /// A chat template in Jinja that cannot be compiled, or that refuses a conversation.
    #[cfg(feature = "jinja")]
    #[error("the chat template: {0}")]
    Jinja(#[from] minijinja::Error),
    /// A conversation that the template does not take, or that the tokenizer cannot encode.
    #[error(transparent)]
    Encoding(Box<janus_data::Error>),
    /// A tokenizer that cannot be read or built.
    #[error("{}: {source}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<janus_data::Error>,
    },
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
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
