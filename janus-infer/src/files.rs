//! Models on disk: what inference and training read and write alike. No kernel is used here.

mod config;
mod encoding;
mod folder;
mod gguf;
mod heads;
mod mapped;
mod matrix;
mod rope_scaling;
mod safetensors;
mod template;
mod weights;

pub use config::{Architecture, ModelConfig};
pub use heads::{VALUE_HEAD, ValueHead};
pub use rope_scaling::RopeScaling;
pub use template::Template;
pub use weights::Weights;

pub(crate) use encoding::{Encoding, Stretch};
pub(crate) use folder::tokenizer_and_template;
pub(crate) use matrix::{Bytes, Matrix};
