//! Models by what the user gives: a path, or the address of an API.

use std::path::Path;

use candle_core::Device;
use janus_core::ChatTemplate;
use janus_infer::{Engine, EngineOptions};

use crate::command::{Blame as _, CommandError};

/// Whether this is the address of an API rather than a path.
pub fn is_address(model: &str) -> bool {
    model.starts_with("http://") || model.starts_with("https://")
}

/// How a local model runs. An API ignores these arguments.
#[derive(Debug, Default, clap::Args)]
pub struct EngineArgs {
    /// Chat template, instead of the model's own: mistral-instruct or chatml
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<ChatTemplate>,
    /// Sequences in a batch [default: 64]; changes the speed, not the answers
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Maximum number of tokens of prompt and answer together; an answer ends there [default: the
    /// model's context]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) context: Option<usize>,
    /// Size of the KV cache, in MB [default: 4295]; sequences wait while it is full, and a single longer
    /// one is refused
    #[arg(long, value_name = "MB")]
    cache_mb: Option<usize>,
}

impl EngineArgs {
    pub fn options(&self) -> Result<EngineOptions, CommandError> {
        for (flag, value) in [("batch", self.batch), ("context", self.context), ("cache-mb", self.cache_mb)] {
            if value == Some(0) {
                return Err(CommandError::bad_input(format!("--{flag} is 0: expected at least 1")));
            }
        }
        let mut options = EngineOptions::default();
        options.template = self.template;
        options.max_sequences = self.batch.unwrap_or(options.max_sequences);
        options.max_context = self.context;
        options.cache_bytes = self.cache_mb.map_or(options.cache_bytes, |mb| mb.saturating_mul(1_000_000));
        Ok(options)
    }

    /// The first of these flags that the user gave.
    pub fn given(&self) -> Option<&'static str> {
        let Self { template, batch, context, cache_mb } = self;
        let given = [template.is_some(), batch.is_some(), context.is_some(), cache_mb.is_some()];
        ["--template", "--batch", "--context", "--cache-mb"]
            .into_iter()
            .zip(given)
            .find(|(_, given)| *given)
            .map(|(flag, _)| flag)
    }

    /// Loads a local model that answers chats: one with a chat template, or with `--template`.
    pub fn load_chat(&self, path: &Path, device: &Device) -> Result<Engine, CommandError> {
        let engine = self.load(path, device)?;
        engine.template().check_present().map_err(|error| {
            CommandError::bad_input(format!("{error} (--template), or use a model that is tuned for chats"))
        })?;
        Ok(engine)
    }

    /// Loads a local model from a GGUF file or a folder. A base model has no chat template.
    pub fn load(&self, path: &Path, device: &Device) -> Result<Engine, CommandError> {
        janus_infer::FreedMemory::Return.apply_to_process();
        Engine::load(path, device, self.options()?).bad_input()
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;

    #[test]
    fn the_defaults_in_the_help_are_the_engines() {
        let help = EngineArgs::augment_args(Command::new("x")).render_long_help().to_string();
        let EngineOptions { max_sequences, cache_bytes, .. } = EngineOptions::default();
        for value in [max_sequences as f64, (cache_bytes as f64 / 1e6).round()] {
            assert!(help.contains(&format!("[default: {value}]")), "{value} is not in\n{help}");
        }
        assert_eq!(EngineOptions::default().max_context, None);
    }
}
