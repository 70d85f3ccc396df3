//! Trains Llama and Mistral models: supervised fine-tuning, DPO, ORPO, reward models, or an objective of your
//! own.
//!
//! ```text
//! Recipe ──▶ TokenRow ──▶ Batch ──▶ Decoder::hidden ──▶ Decoder::logprobs ──▶ Objective::loss ──▶ backward ──▶ AdamW
//!                                   └────────────── one node of candle's graph for each layer ──────────────┘
//! ```
//! * [`Recipe`]: a whole run as a TOML file or a value, from the data to the model folder:
//!   [`Recipe::run`]. [`estimate`] computes the memory that it needs before anything is loaded,
//!   [`throughput`] measures how fast this machine trains.
//! * [`Trainer`]: steps, metrics and checkpoints on rows that you have. An interrupted run resumes and
//!   ends with the same bytes. [`TrainConfig`] has the settings; an [`Observer`] receives the progress
//!   and may stop the run.
//! * [`Objective`]: the loss: [`Sft`], [`Dpo`], [`Orpo`], [`Reward`], or your own. It reads
//!   log-probabilities of single tokens or values of documents, never logits. [`pairs`] and
//!   [`Reference`] are shared by the objectives over pairs.
//! * [`Decoder`]: the model. Parameters have their Hugging Face names, documents are packed without
//!   padding, weights are in f32 or bf16 ([`DType`]), and LoRA adapters are optional ([`LoraConfig`]).
//! * [`AdamW`], [`Schedule`], [`Gradients`]: the optimiser, which works in place; norms are in f64.
//! * [`goldens`]: recomputes reference numbers from PyTorch, transformers and TRL.
//! * [`ops`]: differentiable operations with their own backward pass, each with a reference version in
//!   plain candle.
//!
//! Examples: `recipe` (a run from code), `own_objective` (IPO, with a reference model), `dpo` (from text
//! to a response), `train_tiny`.
//!
//! ```
//! use janus_train::candle_core::Device;
//! use janus_train::{Batch, Decoder, ModelConfig, ModelSizes, TokenRow};
//!
//! let config = ModelConfig::llama(ModelSizes {
//!     vocab_size: 11,
//!     hidden_size: 8,
//!     intermediate_size: 12,
//!     num_hidden_layers: 1,
//!     num_attention_heads: 2,
//!     num_key_value_heads: 2,
//!     max_position_embeddings: 16,
//! });
//! let decoder = Decoder::init(&config, 1, &Device::Cpu)?;
//! let row = TokenRow { ids: vec![1, 5, 7], loss_mask: vec![false, true, true] };
//! let logprobs = decoder.logprobs(&Batch::concat(&[&row]))?;
//! assert_eq!(logprobs.values.dims(), [2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod batch_sampler;
mod checkpoint;
mod config;
mod decoder;
mod difference;
mod error;
pub mod estimate;
mod evaluation;
pub mod goldens;
mod gradients;
mod matrix;
mod metrics;
mod objective;
mod observer;
pub mod ops;
mod optim;
pub mod recipe;
mod reference;
mod schedule;
mod scratch;
mod tensorboard;
mod tensors;
pub mod throughput;
mod trainer;

pub use batch::Batch;
pub use batch_sampler::BatchSampler;
/// The version of candle that this crate's tensors come from: `janus_train::candle_core::Device`.
pub use candle_core;
pub use checkpoint::Checkpoint;
pub use config::{EarlyStop, KeepBest, Length, TrainConfig};
pub use decoder::{DType, Decoder, Logprobs, LoraConfig, RewardScale, VALUE_HEAD};
pub use difference::Difference;
pub use error::{BatchProblem, Error, FileProblem, Quantity, Result};
pub use evaluation::Evaluation;
pub use gradients::Gradients;
pub use janus_data::TokenRow;
pub use janus_infer::{FreedMemory, ModelConfig, ModelSizes, RopeScaling};
pub use metrics::StepMetrics;
pub use objective::{
    Dpo, DpoConfig, Head, LossDenominator, LossOutput, Metrics, MicroBatch, NllSpan, Objective, Orpo,
    Reference, Reward, Sft, pairs,
};
pub use observer::{Observer, StepFlow, StopReason};
pub use optim::{AdamW, AdamWConfig};
pub use recipe::{Note, Recipe};
pub use reference::ReferenceLogprobs;
pub use schedule::Schedule;
pub use trainer::Trainer;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
