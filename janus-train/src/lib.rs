//! Trains Llama and Mistral models on packed rows.
//!
//! ```text
//! TokenRow ──▶ Batch ──▶ Decoder::hidden ──▶ Decoder::logprobs ──▶ Objective::loss ──▶ backward ──▶ AdamW
//!                        └────────────── one node of candle's graph for each layer ──────────────┘
//! ```
//! * [`ops`]: differentiable operations with their own backward pass, each with a twin in plain candle.
//! * [`Decoder`]: the model; parameters by their Hugging Face names, documents packed without padding.
//! * [`Objective`]: what is minimised: [`Sft`], [`Dpo`], [`Orpo`], [`Reward`], or your own. It reads log-probabilities of
//!   single tokens or values of documents, never logits.
//! * [`AdamW`], [`Schedule`], [`Gradients`]: the optimiser, in place; norms in f64. Weights in bf16 ([`WeightType`]) have an f32
//!   master there.
//! * [`goldens`]: reference numbers of PyTorch, transformers and TRL, recomputed.
//! * [`Trainer`]: steps, metrics and checkpoints; a run that was cut off continues bit for bit.
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
mod checkpoint;
mod config;
mod decoder;
mod error;
mod evaluation;
pub mod goldens;
mod gradients;
mod matrix;
mod metrics;
mod objective;
pub mod ops;
mod optim;
mod order;
mod reference;
mod schedule;
mod scratch;
mod simd;
mod tensorboard;
mod tensors;
mod trainer;

pub use batch::Batch;
/// The candle that the tensors here are of: `janus_train::candle_core::Device`.
pub use candle_core;
pub use checkpoint::{Checkpoint, Fingerprint};
pub use config::{EarlyStop, KeepBest, TrainConfig};
pub use decoder::{Decoder, Logprobs, LoraConfig, RewardScale, VALUE_HEAD, WeightType};
pub use error::{Error, Result};
pub use evaluation::Evaluation;
pub use gradients::Gradients;
pub use janus_data::TokenRow;
pub use janus_infer::{FreedMemory, ModelConfig, ModelSizes, RopeScaling};
pub use metrics::StepMetrics;
pub use objective::{Dpo, DpoConfig, Figures, MicroBatch, NllSpan, Objective, Orpo, Part, Reference, Reward, Sft, Weight};
pub use optim::{AdamW, AdamWConfig};
pub use order::Order;
pub use reference::ReferenceLogprobs;
pub use schedule::Schedule;
pub use trainer::{Observer, Trainer};

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
