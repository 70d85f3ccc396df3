//! Runs Llama and Mistral models, from safetensors or GGUF, many sequences at a time.
//!
//! * [`Engine`]: a [`janus_core::ChatModel`]: requests in, texts out, batched as they come and go.
//! * [`Session`]: requests that come and go while others run; texts as they grow.
//! * [`RewardEngine`]: a [`janus_core::RewardModel`], and [`best_of_n`]: the best of many answers by any reward model.
//! * [`Template`]: how a conversation is laid out; with the feature `jinja`, by a model's own template.
//! * [`Model`]: the forward pass with a [`KvCache`] for each sequence.
//! * [`Sampler`]: the next token from logits.
//! * `remote` (a feature): the same trait over an OpenAI-compatible service. `server` (a feature): such a service over an
//!   engine.
//! * [`Weights`], [`ModelConfig`]: checkpoints by name and shape; janus-train reads them too.
//!
//! It runs on the CPU in `f32`; weights stay in memory in as many bits as their file has, and a sequence's tokens are the same
//! bits whatever runs beside it. With the features `cuda` and `metal` it runs on a GPU too, through candle; see [`Model`] for what
//! is computed there in which type.
//!
//! ```
//! use janus_infer::{SequenceInput, LogitsWanted, Model, ModelConfig};
//!
//! let config = ModelConfig::from_json(
//!     r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
//!         "num_attention_heads": 2, "max_position_embeddings": 16}"#,
//! )?;
//! // A real model comes from `Model::load`; here, every weight is 0.1.
//! let model = Model::from_weights(config, |_name, shape| Ok(vec![0.1; shape.iter().product()]))?;
//! let (mut cache, mut logits) = (model.cache(), Vec::new());
//! model.forward(&mut [SequenceInput { tokens: &[1, 2, 3], cache: &mut cache, logits: LogitsWanted::Last }], &mut logits)?;
//! assert_eq!((logits.len(), cache.len()), (8, 3));
//! # Ok::<(), janus_infer::Error>(())
//! ```

// The unit tests share the integration tests' support, which knows the crate by its name.
#[cfg(test)]
extern crate self as janus_infer;

mod backend;
mod batch;
mod config;
mod encoding;
mod engine;
mod error;
mod folder;
mod gguf_tokenizer;
#[cfg(feature = "jinja")]
mod jinja;
mod kernels;
mod kv;
mod memory;
mod model;
mod projection;
#[cfg(feature = "remote")]
pub mod remote;
mod reward;
mod rope;
mod sample;
#[cfg(feature = "server")]
pub mod server;
mod template;
mod value_head;
mod weights;

/// The candle that devices here are of: `janus_infer::candle_core::Device`.
pub use candle_core;

pub use batch::{LogitsWanted, SequenceInput};
pub use config::{Architecture, ModelConfig};
pub use engine::session::{Event, Session, SessionStats, Ticket};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Result};
#[cfg(feature = "jinja")]
pub use jinja::JinjaTemplate;
pub use kv::cache::KvCache;
pub use memory::return_freed_memory;
pub use model::Model;
pub use projection::{PerProjection, Projection};
pub use reward::best_of_n::{BestOfN, best_of_n, best_of_n_each};
pub use reward::{RewardEngine, RewardLayout, RewardOptions, RewardScale};
pub use rope::RopeScaling;
pub use sample::{Candidate, Choice, Sampler};
pub use template::Template;
pub use value_head::{VALUE_HEAD, ValueHead};
pub use weights::Weights;
