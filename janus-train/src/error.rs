//! What can go wrong in training.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::difference::Difference;

/// The crate's error; each variant says where it happened and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: cannot be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A batch whose parts do not fit together or the model.
    #[error("{}the batch is not usable: {problem}", of_row(*row))]
    Batch {
        /// The row that the batch was made of, if it is one alone.
        row: Option<usize>,
        /// What does not fit.
        problem: BatchProblem,
    },
    /// An objective or an observer of the caller's own failed.
    #[error("the objective or the observer failed")]
    Caller(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A setting outside its range.
    #[error("{field} is {got}: expected {expected}")]
    Setting {
        /// Its name in [`TrainConfig`](crate::TrainConfig) or in the objective's constants.
        field: &'static str,
        /// As set.
        got: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// There is nothing to train on.
    #[error("no rows to train on")]
    NoRows,
    /// The rows cannot be grouped into the objective's examples.
    #[error("{rows} rows are not a multiple of the objective's {per_example} documents for each example")]
    Incomplete {
        /// Rows given.
        rows: usize,
        /// Documents for each example.
        per_example: usize,
    },
    /// An example that no micro-batch can hold.
    #[error(
        "row {row}: its example has {tokens} tokens, more than tokens_per_micro_batch, {capacity}: truncate it, drop it or raise the limit"
    )]
    TooLong {
        /// Index of the example's first row.
        row: usize,
        /// Tokens of the example.
        tokens: usize,
        /// The limit.
        capacity: usize,
    },
    /// A row from which nothing can be learned.
    #[error("row {row} carries no loss: its loss mask is false after the first token; drop the row, or mask in its response")]
    NothingTrained {
        /// Index of the row.
        row: usize,
    },
    /// A model of which every weight that the objective would train is frozen.
    #[error("no weight trains: all that the objective reaches are frozen; leave some to train, or add low-rank updates")]
    NothingTrains,
    /// A weight file without one of the model's tensors.
    #[error("{}: tensor {name} is missing", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape than the config says.
    #[error("{}: tensor {name} has shape {got:?}, expected {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// As found.
        got: Vec<usize>,
        /// As the config says.
        expected: Vec<usize>,
    },
    /// A file that is not what its name says.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// A trainable parameter that the loss does not reach.
    #[error("step {step}: no gradient reaches {name}: an operation without a backward pass lies between it and the loss")]
    NoGradient {
        /// The parameter.
        name: String,
        /// Optimiser step.
        step: u64,
    },
    /// A trainable parameter whose gradient is zero everywhere in the first step.
    #[error(
        "the gradient of {name} is zero everywhere in the first step: the parameter is cut off from the loss, or the model is degenerate"
    )]
    ZeroGradient {
        /// The parameter.
        name: String,
    },
    /// A loss, gradient or weight that is infinite or not a number.
    #[error(
        "step {step}: {what} is {value}, not finite; rows of the step: {rows:?}; look at these rows, or start another run, in another folder, with a lower learning rate{}",
        way_out(checkpoint.as_deref())
    )]
    NotFinite {
        /// Optimiser step.
        step: u64,
        /// What it is.
        what: Quantity,
        /// Its value.
        value: f64,
        /// Indices of the rows that were used; where it was found on held-out rows, of these.
        rows: Vec<usize>,
        /// The run's newest checkpoint, if it has one: a model folder of finite weights to start another run from.
        checkpoint: Option<PathBuf>,
    },
    /// A figure that the objective does not report.
    #[error("the metric of early_stop or keep_best is {got}: the held-out rows have {}", known.join(", "))]
    UnknownMetric {
        /// As set.
        got: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A head that the model does not have.
    #[error("the model has no {name}: load one that has, or add it")]
    NoHead {
        /// Its name among the weights.
        name: &'static str,
    },
    /// A row that the reference model has not scored.
    #[error("row {row} has no log-probability under the reference model: compute them for these rows")]
    NoReference {
        /// Index of the row.
        row: usize,
    },
    /// A reference model that is no model of its own.
    #[error("the reference model shares {name} with the model that trains, and would change with it: make it by Decoder::copy, or load it")]
    SharedReference {
        /// A weight that both read from the same memory.
        name: String,
    },
    /// Log-probabilities of another reference.
    #[error("{}: computed with another {what}: use the one it was made with, or another file", path.display())]
    OtherReference {
        /// The file.
        path: PathBuf,
        /// `model`, `weight type` or `template`.
        what: &'static str,
    },
    /// A checkpoint of another run.
    #[error(
        "{}: the checkpoint was made with another {what}{}: continue with the one it was made with, or start in an empty folder; the \
         checkpoint is a model folder to start from",
        path.display(),
        listed(what, differences)
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// `config`, `objective`, `model`, `low-rank config`, `set of frozen weights` or `data`.
        what: &'static str,
        /// The settings that differ, as far as the checkpoint says them.
        differences: Vec<Difference>,
    },
    /// Epochs that fill no step.
    #[error(
        "{epochs} epochs are {micro_batches} micro-batches, and gradient_accumulation_steps is {per_step}: not one whole step; lower \
         gradient_accumulation_steps or tokens_per_micro_batch, or train for more epochs"
    )]
    NoWholeStep {
        /// Passes over the rows.
        epochs: f64,
        /// Micro-batches in them.
        micro_batches: u64,
        /// Micro-batches of a step.
        per_step: usize,
    },
    /// A file cannot be written or its rows read, or another run works in the run's folder ([`janus_data::Error::Locked`]).
    #[error(transparent)]
    Data(Box<janus_data::Error>),
    /// A recipe that is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{place}: {}", toml_message(error))]
    Recipe {
        /// The file with the line, or the assignments beside it.
        place: String,
        /// What is wrong there; it is part of the text.
        error: Box<toml::de::Error>,
    },
    /// A key that was to be set in a recipe.
    #[error("{assignment}: {problem}")]
    Assignment {
        /// As given.
        assignment: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A recipe that asks for what it cannot have.
    #[error("{place}: {problem}")]
    RecipeRule {
        /// The file, and what was set beside it.
        place: String,
        /// The keys, and what to do.
        problem: &'static str,
    },
    /// A setting of a recipe outside its range.
    #[error("{place}: {table}{error}")]
    RecipeSetting {
        /// The file, and what was set beside it.
        place: String,
        /// The table that it is in, with a dot.
        table: &'static str,
        /// An [`Error::Setting`].
        error: Box<Error>,
    },
    /// A run's folder with checkpoints that this recipe cannot continue from.
    #[error("{}: the checkpoints were made otherwise: {difference}: continue with what they were made with, or give another folder", path.display())]
    OtherRecipe {
        /// The run's folder.
        path: PathBuf,
        /// The key that differs.
        difference: Box<Difference>,
    },
    /// A tokenizer that does not fit the model.
    #[error("{}: {tokens} tokens, but the model's embedding has {rows} rows", path.display())]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// Its tokens.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// Rows that are all held out.
    #[error("{}: {rows} rows, of which {held_out} are held out: nothing is left to train on", path.display())]
    AllHeldOut {
        /// The data.
        path: PathBuf,
        /// Rows that can be used; two for a pair.
        rows: usize,
        /// Rows that the recipe holds out.
        held_out: usize,
    },
    /// What is wrong with the rows of a file.
    #[error("{}", path.display())]
    InData {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the row of the file.
        source: Box<Error>,
    },
    /// The model's config or weights could not be read.
    #[error(transparent)]
    Model(Box<janus_infer::Error>),
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<janus_data::Error> for Error {
    fn from(error: janus_data::Error) -> Self {
        Self::Data(Box::new(error))
    }
}

impl From<janus_infer::Error> for Error {
    fn from(error: janus_infer::Error) -> Self {
        Self::Model(Box::new(error))
    }
}

fn way_out(checkpoint: Option<&Path>) -> String {
    checkpoint.map_or_else(String::new, |path| {
        format!(", from the model in {}, this run's newest checkpoint (an older one if the loss rose before it)", path.display())
    })
}

fn of_row(row: Option<usize>) -> String {
    row.map(|row| format!("row {row}: ")).unwrap_or_default()
}

/// Why a batch is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchProblem {
    /// There is no token, or not a flag of the loss mask for each.
    #[error("{ids} ids and a loss mask of {loss_mask}: expected one for each, and at least one")]
    LossMask {
        /// Ids.
        ids: usize,
        /// Flags.
        loss_mask: usize,
    },
    /// Boundaries of documents that do not rise from 0 to the number of ids.
    #[error("cu_seqlens must rise from 0 to {ids}, got {got:?}")]
    Boundaries {
        /// Ids.
        ids: usize,
        /// The boundaries.
        got: Vec<u32>,
    },
    /// An id outside the vocabulary.
    #[error("token {token} has id {id}, but the vocabulary ends before {vocab_size}")]
    Id {
        /// The token's index.
        token: usize,
        /// Its id.
        id: u32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// Indices of tokens that do not rise, or are not the batch's.
    #[error("tokens must rise and be below {tokens}")]
    Tokens {
        /// Tokens of the batch.
        tokens: usize,
    },
    /// The first token of a document, where a predicted one is needed.
    #[error("token {token} is the first of its document: nothing predicts it")]
    FirstToken {
        /// The token's index.
        token: u32,
    },
    /// A token without log-probability.
    #[error("token {token} has no log-probability here")]
    NoLogprob {
        /// The token's index.
        token: u32,
    },
    /// Documents that cannot be pairs.
    #[error("{documents} documents are no pairs of chosen and rejected")]
    NoPairs {
        /// Documents of the batch.
        documents: usize,
    },
    /// A document without a last token.
    #[error("document {document} is empty: there is no last token to value")]
    EmptyDocument {
        /// The document's index.
        document: usize,
    },
}

/// What is wrong with a file of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// It is not JSON of its form, or cannot be written as JSON.
    #[error("{0}")]
    Json(serde_json::Error),
    /// It cannot be written as TOML.
    #[error("{0}")]
    Toml(toml::ser::Error),
    /// The header of a file of tensors does not fit together.
    #[error("{0}")]
    Tensors(safetensors::SafeTensorError),
    /// The header of a file of tensors is longer than the file, or than any header is.
    #[error("its header should have {header} bytes, but the file has {file}")]
    HeaderLength {
        /// Bytes that the header should have.
        header: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// A file of tensors was cut, or continues after them.
    #[error("its tensors should have {expected} bytes, but {got} follow its header")]
    TensorsLength {
        /// Bytes by the header.
        expected: u64,
        /// Bytes after the header.
        got: u64,
    },
    /// A tensor of a type that is not read.
    #[error("tensor {name} is {got:?}: expected {expected}")]
    TensorType {
        /// The tensor.
        name: String,
        /// Its type.
        got: safetensors::Dtype,
        /// What can be read.
        expected: &'static str,
    },
    /// A checkpoint of a later version of this crate.
    #[error("the checkpoint's format is {got}, newer than {known}: continue with the program that wrote it")]
    NewerFormat {
        /// The number of its format.
        got: u64,
        /// The newest that is known here.
        known: u64,
    },
    /// `metrics.jsonl` has fewer steps than the checkpoint beside it.
    #[error("{lines} whole lines, but the checkpoint is at step {step}: restore the file or start in an empty folder")]
    StepsMissing {
        /// Its lines.
        lines: usize,
        /// The checkpoint's step.
        step: u64,
    },
    /// A line of `metrics.jsonl` is of no step.
    #[error("a line has no number `step`")]
    NoStep,
}

impl FileProblem {
    /// The error of a file with this problem.
    pub(crate) fn of<E>(path: &Path, problem: impl Fn(E) -> Self) -> impl Fn(E) -> Error {
        move |error| Error::Malformed { path: path.into(), problem: problem(error) }
    }

    /// The error of a file that is not JSON of its form.
    pub(crate) fn json(path: &Path) -> impl Fn(serde_json::Error) -> Error {
        Self::of(path, Self::Json)
    }
}

impl From<BatchProblem> for Error {
    fn from(problem: BatchProblem) -> Self {
        Self::Batch { row: None, problem }
    }
}

/// The settings that differ, in parentheses.
fn listed(what: &str, differences: &[Difference]) -> String {
    match differences {
        [] if what == "data" => " (the settings are the same: the rows or the tokenizer have changed)".into(),
        [] => String::new(),
        all => format!(" ({})", all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

/// A number of a run that must be finite.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// The loss of a step.
    Loss,
    /// The norm of a step's gradients.
    GradNorm,
    /// The loss, or another metric, over the held-out rows.
    HeldOut(String),
    /// A value of a weight, or of what the optimiser keeps of it, by its name.
    Weight(String),
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss => f.write_str("loss"),
            Self::GradNorm => f.write_str("grad_norm"),
            Self::HeldOut(metric) => write!(f, "held-out {metric}"),
            Self::Weight(name) => f.write_str(name),
        }
    }
}

/// Names the file in an I/O error.
pub(crate) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { path: path.into(), source })
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong in a TOML text, without the excerpt that its `Display` has: the place of the error names the line.
fn toml_message(error: &toml::de::Error) -> String {
    match error.span() {
        Some(_) => error.message().to_string(),
        None => error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
