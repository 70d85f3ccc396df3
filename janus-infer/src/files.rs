//! Models on disk: the files that inference and training both read and write. It uses no kernels.

mod config;
mod config_file;
mod encoding;
mod extent;
mod folder;
mod gguf;
mod heads;
mod mapped;
mod matrix;
mod rope_scaling;
mod safetensors;
mod template;
mod unused;
mod weights;

pub use config::{Architecture, ModelConfig, ModelSizes};
pub use config_file::{ConfigFile, ConfigProblem};
pub use folder::ModelFolder;
pub use heads::{RewardLayout, RewardScale, VALUE_HEAD, ValueHead};
pub use rope_scaling::RopeScaling;
pub use template::{Template, TemplateProblem};
pub use weights::Weights;

pub(crate) use encoding::{Encoding, Stretch};
pub(crate) use matrix::{Bytes, Matrix};
