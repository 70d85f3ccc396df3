//! Runs Llama and Mistral models, from safetensors or GGUF, many sequences at a time.
//!
//! * [`Engine`]: a [`janus_core::ChatModel`]: requests in, texts out, batched as they come and go.
//! * [`Session`]: requests that come and go while others run; texts as they grow.
//! * [`Model`]: the forward pass with a [`KvCache`] for each sequence.
//! * [`Sampler`]: the next token from logits.
//! * `remote` (a feature): the same trait over an OpenAI-compatible service. `server` (a feature): such a service over an
//!   engine.
//! * [`Weights`], [`ModelConfig`]: checkpoints by name and shape; janus-train reads them too.
//!
//! The CPU is what it runs on in this version, in `f32`; weights stay in memory in as many bits as their file has.
//! A sequence's tokens are the same bits whatever runs beside it.
//!
//! ```
//! use janus_infer::{Feed, Logits, Model, ModelConfig};
//!
//! let config = ModelConfig::from_json(
//!     r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
//!         "num_attention_heads": 2, "max_position_embeddings": 16}"#,
//! )
//! .unwrap();
//! // A real model comes from `Model::load`; here, every weight is 0.1.
//! let model = Model::from_weights(config, |_name, shape| Ok(vec![0.1; shape.iter().product()]))?;
//! let (mut cache, mut logits) = (model.cache(), Vec::new());
//! model.forward(&mut [Feed { tokens: &[1, 2, 3], cache: &mut cache, logits: Logits::Last }], &mut logits)?;
//! assert_eq!((logits.len(), cache.len()), (8, 3));
//! # Ok::<(), janus_infer::Error>(())
//! ```

mod attention;
mod cache;
mod config;
mod elementwise;
mod encoding;
mod engine;
mod error;
mod folder;
mod gguf_tokenizer;
mod kernel;
mod linear;
mod model;
mod packed;
mod prefix;
#[cfg(feature = "remote")]
pub mod remote;
mod sample;
mod sequence;
#[cfg(feature = "server")]
pub mod server;
mod session;
mod weights;

pub use cache::KvCache;
pub use config::{Architecture, ModelConfig};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Result};
pub use model::{Feed, Logits, Model};
pub use sample::{Candidate, Choice, Sampler};
pub use session::{Event, Session, SessionStats, Ticket};
pub use weights::Weights;
