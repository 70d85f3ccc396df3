//! A local model as what tells how likely a text is.

use std::path::Path;

use candle_core::Device;
use janus_core::ModelError;
use janus_eval::bench::toxicity::{TextLoss, TextLosses};
use janus_infer::{Engine, EngineOptions, LogitsWanted, SequenceInput};

use crate::command::{Blame as _, CommandError};

/// A model of the engine, asked for losses of plain text: no template, no special token.
pub struct LocalLosses {
    engine: Engine,
}

impl LocalLosses {
    /// Loads a model.
    ///
    /// # Errors
    /// Bad input for what is no model.
    pub fn load(path: &Path) -> Result<Self, CommandError> {
        Ok(Self { engine: Engine::load(path, &Device::Cpu, EngineOptions::default()).bad_input()? })
    }

    fn loss(&self, index: usize, text: &str) -> Result<TextLoss, ModelError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ModelError::Failed { id: index.to_string(), source };
        let ids = self.engine.tokenizer().encode(text).map_err(|error| failed(error.into()))?;
        if ids.len() > self.engine.context() {
            return Err(ModelError::TooLong { id: index.to_string(), prompt_tokens: ids.len(), context: self.engine.context() });
        }
        // The last token is only predicted, and the first is not.
        let Some((_, shown)) = ids.split_last().filter(|(_, shown)| !shown.is_empty()) else {
            return Ok(TextLoss { loss: 0.0, tokens: ids.len() });
        };
        let model = self.engine.model();
        let (mut cache, mut logits) = (model.cache(), Vec::new());
        let mut inputs = [SequenceInput { tokens: shown, cache: &mut cache, logits: LogitsWanted::All }];
        model.forward(&mut inputs, &mut logits).map_err(|error| failed(error.into()))?;
        let rows = logits.chunks(logits.len() / shown.len());
        let loss = rows.zip(&ids[1..]).map(|(row, &next)| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
            sum.ln() + f64::from(largest) - f64::from(row[next as usize])
        });
        Ok(TextLoss { loss: loss.sum(), tokens: ids.len() })
    }
}

impl TextLosses for LocalLosses {
    fn name(&self) -> &str {
        janus_core::ChatModel::name(&self.engine)
    }

    fn losses(&self, texts: &[String]) -> Vec<Result<TextLoss, ModelError>> {
        texts.iter().enumerate().map(|(index, text)| self.loss(index, text)).collect()
    }
}
