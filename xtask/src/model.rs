//! A model by what a user gives: a path, or the address of a service.

use std::path::Path;

use candle_core::Device;
use janus_core::ChatTemplate;
use janus_infer::{Engine, EngineOptions};

use crate::command::{Blame as _, CommandError};

/// Whether this is the address of a service, and no path.
pub fn is_address(model: &str) -> bool {
    model.starts_with("http://") || model.starts_with("https://")
}

/// A local model, from a GGUF file or a folder.
///
/// # Errors
/// Bad input for what is no model.
pub fn load(path: &Path, template: Option<ChatTemplate>, batch: Option<usize>, device: &Device) -> Result<Engine, CommandError> {
    janus_infer::return_freed_memory();
    let mut options = EngineOptions::default();
    options.template = template;
    options.max_sequences = batch.unwrap_or(options.max_sequences);
    Engine::load(path, device, options).bad_input()
}
