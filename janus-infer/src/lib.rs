//! Runs Llama and Mistral models.

mod config;
mod error;

pub use config::{Architecture, ModelConfig};
pub use error::{Error, Result};
