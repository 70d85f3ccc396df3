//! A model by what a user gives: a path, or the address of a service.

use std::path::Path;

use candle_core::Device;
use janus_core::ChatTemplate;
use janus_infer::remote::{Endpoint, Prices, RemoteModel, RemoteOptions};
use janus_infer::{Engine, EngineOptions};

use crate::command::{Blame as _, CommandError};

/// How a service is asked; nothing of it matters to a local model but the name.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Service")]
pub struct ServiceArgs {
    /// The model's name at the service
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// Requests under way at once
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Price of a million tokens of prompts
    #[arg(long, value_name = "PRICE")]
    prompt_price: Option<f64>,
    /// Price of a million generated tokens
    #[arg(long, value_name = "PRICE")]
    completion_price: Option<f64>,
    /// Spend at the most; needs both prices
    #[arg(long, value_name = "PRICE", requires_all = ["prompt_price", "completion_price"])]
    budget: Option<f64>,
}

impl ServiceArgs {
    /// What tokens cost, if that was said.
    pub fn prices(&self) -> Option<Prices> {
        Some(Prices { prompt: self.prompt_price?, completion: self.completion_price? })
    }

    /// The model behind an address; its key stands in the environment. Nothing is sent yet.
    ///
    /// # Errors
    /// Bad input without a name, or for settings that no service takes.
    pub fn model(&self, address: &str, endpoint: Endpoint) -> Result<RemoteModel, CommandError> {
        let Some(name) = &self.model_name else {
            return Err(CommandError::bad_input("--model is the address of a service: give --model-name too"));
        };
        let key = RemoteOptions::from_env().bad_input()?.key;
        let base = RemoteOptions::new(address.trim_end_matches('/'));
        let concurrency = self.concurrency.unwrap_or(base.concurrency);
        let options = RemoteOptions { endpoint, key, concurrency, prices: self.prices(), budget: self.budget, ..base };
        RemoteModel::new(name.clone(), options).bad_input()
    }
}

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
