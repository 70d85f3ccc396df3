//! Runs Llama and Mistral models from safetensors or GGUF files, with continuous batching.
//!
//! * [`Engine`]: a [`janus_core::ChatModel`] that runs here.
//! * [`Session`]: continuous batching: requests are added and cancelled at any time, and text is streamed.
//! * [`RewardEngine`]: a [`janus_core::RewardModel`]; [`janus_core::best_of_n`] picks the best of many
//!   answers with any reward model.
//! * [`Template`]: a chat template: one that is built in or, with the feature `jinja`, the model's own.
//! * [`Model`]: the forward pass with a [`KvCache`] for each sequence.
//! * [`Sampler`]: the next token from logits.
//! * `remote`: a [`janus_core::ChatModel`] over an OpenAI-compatible API. `server`: an engine behind
//!   such an API.
//! * [`ModelFolder`], [`ModelConfig`], [`Weights`]: models on disk, read and written; janus-train uses
//!   the same types.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `local` (default) | models that run here, everything but `remote`; the only feature that needs candle |
//! | `remote` | a client of OpenAI-compatible APIs; `default-features = false, features = ["remote"]` builds without candle |
//! | `jinja` | the Jinja chat templates that models ship with |
//! | `server` | an OpenAI-compatible server over an [`Engine`] |
//! | `cuda`, `metal` | GPUs, through candle |
//!
//! On the CPU it computes in `f32`. Weights stay in memory in the type of their file, and a sequence's
//! logits are bit-identical whatever else is in the batch. With the features `cuda` and `metal` it also
//! runs on a GPU, through candle; [`Model`] says what is computed there in which type.
//!
//! ```
//! # #[cfg(feature = "local")] {
//! use janus_infer::{LogitsWanted, Model, ModelConfig, ModelSizes, SequenceInput};
//!
//! let config = ModelConfig::llama(ModelSizes {
//!     vocab_size: 8,
//!     hidden_size: 4,
//!     intermediate_size: 6,
//!     num_hidden_layers: 1,
//!     num_attention_heads: 2,
//!     num_key_value_heads: 2,
//!     max_position_embeddings: 16,
//! });
//! // A real model comes from `Model::load`; here, every weight is 0.1.
//! let model = Model::from_weights(config, |_name, shape| Ok(vec![0.1; shape.iter().product()]))?;
//! let (mut cache, mut logits) = (model.cache(), Vec::new());
//! model.forward(&mut [SequenceInput::new(&[1, 2, 3], &mut cache, LogitsWanted::Last)], &mut logits)?;
//! assert_eq!((logits.len(), cache.len()), (8, 3));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Unit tests include the support module of the integration tests, which imports this crate as `janus_infer`.
#[cfg(all(test, feature = "local"))]
extern crate self as janus_infer;

#[cfg(all(test, feature = "local"))]
#[path = "../tests/support/mod.rs"]
mod support;

#[cfg(feature = "local")]
mod backend;
#[cfg(feature = "local")]
mod batch;
#[cfg(feature = "local")]
mod device_name;
#[cfg(feature = "local")]
mod engine;
#[cfg(feature = "local")]
mod error;
#[cfg(feature = "local")]
mod files;
#[cfg(feature = "jinja")]
mod jinja;
#[cfg(feature = "local")]
#[doc(hidden)]
pub mod kernels;
#[cfg(feature = "local")]
mod kv;
#[cfg(feature = "local")]
mod memory;
#[cfg(feature = "local")]
mod model;
#[cfg(feature = "local")]
mod projection;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "local")]
mod reward;
#[cfg(feature = "local")]
mod sample;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "local")]
mod text_engine;
#[cfg(feature = "local")]
pub mod throughput;

/// The version of candle whose `Device` this crate takes: `janus_infer::candle_core::Device`.
#[cfg(feature = "local")]
pub use candle_core;

#[cfg(feature = "local")]
pub use self::{
    batch::{LogitsWanted, SequenceInput},
    device_name::DeviceName,
    engine::{Engine, EngineOptions, Event, RequestId, Session, SessionStats},
    error::{Error, FormatProblem, Result},
    files::{
        Architecture, ConfigFile, ConfigProblem, ModelConfig, ModelFolder, ModelSizes, RewardLayout,
        RewardScale, RopeScaling, Template, TemplateProblem, VALUE_HEAD, ValueHead, Weights,
    },
    kv::KvCache,
    memory::FreedMemory,
    model::Model,
    projection::{PerProjection, Projection},
    reward::{RewardEngine, RewardOptions},
    sample::{Candidate, Choice, Sampler},
    text_engine::TextEngine,
};
#[cfg(feature = "jinja")]
pub use jinja::JinjaTemplate;

/// The example of the README, compiled.
#[cfg(all(doctest, feature = "local"))]
#[doc = include_str!("../README.md")]
struct Readme;
