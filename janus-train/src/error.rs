//! The errors of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::difference::Difference;
use crate::recipe::Note;

/// The crate's error. Each message says where it happened and what to do.
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
    /// A batch that is inconsistent or does not fit the model.
    #[error("{}the batch is not usable: {problem}", of_row(*row))]
    Batch {
        /// The row, if the batch was made of a single row.
        row: Option<usize>,
        /// What is wrong with the batch.
        problem: BatchProblem,
    },
    /// An objective or an observer that the caller implements failed.
    #[error("the objective or the observer failed")]
    Caller(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A setting outside its range.
    #[error("{field} is {got}: expected {expected}")]
    Setting {
        /// Its name in [`TrainConfig`](crate::TrainConfig) or in the objective's constants.
        field: &'static str,
        /// Its value.
        got: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// There are no rows to train on.
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
    /// A row without a token in the loss.
    #[error(
        "row {row} carries no loss: its loss mask is false after the first token; drop the row, or mask in its response"
    )]
    NothingTrained {
        /// Index of the row.
        row: usize,
    },
    /// Every weight that the objective would train is frozen.
    #[error(
        "no weight is trainable: every weight that the objective uses is frozen; unfreeze some, or add LoRA adapters"
    )]
    NothingTrains,
    /// A weight file without one of the model's tensors.
    #[error("{}: tensor {name} is missing", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor whose shape differs from the config's.
    #[error("{}: tensor {name} has shape {got:?}, expected {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape in the file.
        got: Vec<usize>,
        /// The shape that the config implies.
        expected: Vec<usize>,
    },
    /// A file that is malformed, or not of the expected kind.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// A trainable parameter that the loss does not reach.
    #[error(
        "step {step}: no gradient reaches {name}: between it and the loss is an operation without a backward pass"
    )]
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
    /// A loss, gradient or weight that is infinite or NaN.
    #[error(
        "step {step}: {what} is {value}, not finite; rows of the step: {rows:?}; look at these rows, or start another run, in another folder, with a lower learning rate{}",
        advice(checkpoint.as_deref())
    )]
    NotFinite {
        /// Optimiser step.
        step: u64,
        /// Which quantity it is.
        what: Quantity,
        /// Its value.
        value: f64,
        /// Indices of the rows that were used: held-out rows in an evaluation, else training rows.
        rows: Vec<usize>,
        /// The run's newest checkpoint, if it has one. Its weights are finite, so another run can start
        /// from it.
        checkpoint: Option<PathBuf>,
    },
    /// A metric that the objective does not report.
    #[error("unknown metric {got} in early_stop or keep_best: the evaluation reports {}", known.join(", "))]
    UnknownMetric {
        /// The name that was set.
        got: String,
        /// The metrics that exist.
        known: Vec<String>,
    },
    /// A head that the model does not have.
    #[error("the model has no {name}: load a model that has it, or add it")]
    NoHead {
        /// The name of the head's weight.
        name: &'static str,
    },
    /// A row without a stored log-probability under the reference model.
    #[error(
        "row {row} has no log-probability under the reference model: compute the log-probabilities of these rows"
    )]
    NoReference {
        /// Index of the row.
        row: usize,
    },
    /// A reference model that shares its weights with the trained model.
    #[error(
        "the reference model shares {name} with the trained model, and would change with it: make it with Decoder::copy, or load it"
    )]
    SharedReference {
        /// A weight whose memory the two models share.
        name: String,
    },
    /// Stored log-probabilities of another reference model.
    #[error("{}: computed with another {what}: use the {what} that it was computed with, or another file", path.display())]
    OtherReference {
        /// The file.
        path: PathBuf,
        /// `model`, `weight dtype` or `template`.
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
        /// `config`, `objective`, `model`, `LoRA config`, `set of frozen weights` or `data`.
        what: &'static str,
        /// The settings that differ, as far as the checkpoint records them.
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
    /// A file cannot be written, its rows cannot be read, or another run is using the run's folder
    /// ([`janus_data::Error::Locked`]).
    #[error(transparent)]
    Data(Box<janus_data::Error>),
    /// A recipe that is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{place}: {}", toml_message(error))]
    Recipe {
        /// The file with the line, or with the overrides.
        place: String,
        /// The parser's error, which is part of the message.
        error: Box<toml::de::Error>,
    },
    /// An override of a recipe's key that is not `KEY=VALUE`.
    #[error("{assignment}: {problem}")]
    Assignment {
        /// The override.
        assignment: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A recipe whose keys contradict each other.
    #[error("{place}: {problem}")]
    RecipeRule {
        /// The file, with the overrides.
        place: String,
        /// The keys, and what to do.
        problem: &'static str,
    },
    /// A setting of a recipe outside its range.
    #[error("{place}: {table}{error}")]
    RecipeSetting {
        /// The file, with the overrides.
        place: String,
        /// The setting's table, with a trailing dot.
        table: &'static str,
        /// An [`Error::Setting`].
        error: Box<Error>,
    },
    /// A run's folder with checkpoints that this recipe cannot resume from.
    #[error("{}: the checkpoints were made with other settings: {difference}: resume with the settings of the checkpoints, or use another folder", path.display())]
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
        /// Number of its tokens.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// No row of the file can be trained on.
    #[error("{}: no row is left to train on: {}", path.display(), reasons(notes))]
    NoneLeft {
        /// The data.
        path: PathBuf,
        /// Why its rows are left out, with their numbers.
        notes: Vec<Note>,
    },
    /// All rows are held out.
    #[error("{}: {held_out} of {rows} rows are held out: no rows are left to train on", path.display())]
    AllHeldOut {
        /// The data.
        path: PathBuf,
        /// Usable rows; a pair has two.
        rows: usize,
        /// Rows that the recipe holds out.
        held_out: usize,
    },
    /// An error in the rows of a file.
    #[error("{}", path.display())]
    InData {
        /// The file.
        path: PathBuf,
        /// The error, with the row number in the file.
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

fn advice(checkpoint: Option<&Path>) -> String {
    checkpoint.map_or_else(String::new, |path| {
        format!(
            ", from the model in {}, this run's newest checkpoint (an older one if the loss rose before it)",
            path.display()
        )
    })
}

fn reasons(notes: &[Note]) -> String {
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    if notes.is_empty() { "the file has no rows".into() } else { notes.join("; ") }
}

fn of_row(row: Option<usize>) -> String {
    row.map(|row| format!("row {row}: ")).unwrap_or_default()
}

/// Why a batch is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchProblem {
    /// The batch is empty, or ids and loss mask differ in length.
    #[error("{ids} ids and a loss mask of {loss_mask}: expected equal lengths, and at least one token")]
    LossMask {
        /// Number of ids.
        ids: usize,
        /// Length of the loss mask.
        loss_mask: usize,
    },
    /// Document boundaries that do not rise from 0 to the number of ids.
    #[error("cu_seqlens must rise from 0 to {ids}, got {got:?}")]
    Boundaries {
        /// Number of ids.
        ids: usize,
        /// The boundaries.
        got: Vec<u32>,
    },
    /// An id outside the vocabulary.
    #[error("token {token} has id {id}, but the vocabulary has {vocab_size} tokens")]
    Id {
        /// The token's index.
        token: usize,
        /// Its id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// Token indices that are not ascending, or outside the batch.
    #[error("token indices must be ascending and below {tokens}")]
    Tokens {
        /// Tokens of the batch.
        tokens: usize,
    },
    /// The first token of a document, which is never predicted.
    #[error("token {token} is the first of its document: nothing predicts it")]
    FirstToken {
        /// The token's index.
        token: u32,
    },
    /// A token without a log-probability.
    #[error("token {token} has no log-probability here")]
    NoLogprob {
        /// The token's index.
        token: u32,
    },
    /// An odd number of documents, where pairs are expected.
    #[error("{documents} documents: expected pairs of chosen and rejected")]
    NoPairs {
        /// Documents of the batch.
        documents: usize,
    },
    /// An empty document.
    #[error("document {document} is empty: the value head needs a last token")]
    EmptyDocument {
        /// The document's index.
        document: usize,
    },
}

/// What is wrong with a file of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// It is not JSON of the expected form, or cannot be written as JSON.
    #[error("{0}")]
    Json(serde_json::Error),
    /// It cannot be written as TOML.
    #[error("{0}")]
    Toml(toml::ser::Error),
    /// The header of a safetensors file is inconsistent.
    #[error("{0}")]
    Tensors(safetensors::SafeTensorError),
    /// The header of a safetensors file is longer than the file, or longer than the format allows.
    #[error("its header should have {header} bytes, but the file has {file}")]
    HeaderLength {
        /// Bytes of the header, as the file states.
        header: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// A safetensors file is truncated, or has extra bytes at the end.
    #[error("its tensors should have {expected} bytes, but {got} follow its header")]
    TensorsLength {
        /// Bytes according to the header.
        expected: u64,
        /// Bytes after the header.
        got: u64,
    },
    /// A tensor of an unsupported dtype.
    #[error("tensor {name} is {got:?}: expected {expected}")]
    TensorType {
        /// The tensor.
        name: String,
        /// Its dtype.
        got: safetensors::Dtype,
        /// The supported dtypes.
        expected: &'static str,
    },
    /// A checkpoint of a later version of this crate.
    #[error("the checkpoint's format is {got}, newer than {known}: continue with the program that wrote it")]
    NewerFormat {
        /// The version of its format.
        got: u64,
        /// The newest version that this crate reads.
        known: u64,
    },
    /// `metrics.jsonl` has fewer steps than the run's newest checkpoint.
    #[error(
        "only {lines} complete lines (one per step), but the newest checkpoint is at step {step}: restore the file, or start in an empty folder"
    )]
    StepsMissing {
        /// Its complete lines.
        lines: usize,
        /// The checkpoint's step.
        step: u64,
    },
    /// A line of `metrics.jsonl` has no step.
    #[error("a line has no number `step`")]
    NoStep,
}

impl FileProblem {
    /// The error of a file with this problem.
    pub(crate) fn of<E>(path: &Path, problem: impl Fn(E) -> Self) -> impl Fn(E) -> Error {
        move |error| Error::Malformed { path: path.into(), problem: problem(error) }
    }

    /// The error of a file that is not JSON of the expected form.
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

/// A quantity of a run that must be finite.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// The loss of a step.
    Loss,
    /// The norm of a step's gradients.
    GradNorm,
    /// The loss, or another metric, over the held-out rows.
    HeldOut(String),
    /// A value of a weight or of its optimiser state, by name.
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

/// The message of a TOML error without the excerpt of its `Display`, because [`Error::Recipe`] already
/// names the line.
fn toml_message(error: &toml::de::Error) -> String {
    match error.span() {
        Some(_) => error.message().to_string(),
        None => error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
