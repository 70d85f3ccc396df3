//! A local model of plain text.

use std::collections::BTreeMap;

use janus_core::{ChatModel as _, Generation, ModelError, TextLoss, TextLosses, TextModel, TextRequest};

use crate::{Engine, Event, LogitsWanted, RequestId, SequenceInput};

/// An engine without its chat template: it continues texts, and computes how likely a text is.
pub struct TextEngine {
    engine: Engine,
}

impl TextEngine {
    /// Uses the engine's model without its chat template.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn loss(&self, index: usize, text: &str) -> Result<TextLoss, ModelError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ModelError::Failed {
            id: index.to_string(),
            source,
        };
        let ids = self.engine.tokenizer().encode(text).map_err(|error| failed(error.into()))?;
        if ids.len() > self.engine.context() {
            return Err(ModelError::TooLong {
                id: index.to_string(),
                prompt_tokens: ids.len(),
                context: self.engine.context(),
            });
        }
        // The last token is only predicted, and the first only an input.
        let Some((_, tokens)) = ids.split_last().filter(|(_, tokens)| !tokens.is_empty()) else {
            return Ok(TextLoss { loss: 0.0, tokens: ids.len() });
        };
        let model = self.engine.model();
        let (mut cache, mut logits) = (model.cache(), Vec::new());
        let mut inputs = [SequenceInput { tokens, cache: &mut cache, logits: LogitsWanted::All }];
        model.forward(&mut inputs, &mut logits).map_err(|error| failed(error.into()))?;
        let rows = logits.chunks(logits.len() / tokens.len());
        let loss = rows.zip(&ids[1..]).map(|(row, &next)| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
            sum.ln() + f64::from(largest) - f64::from(row[next as usize])
        });
        Ok(TextLoss { loss: loss.sum(), tokens: ids.len() })
    }
}

impl TextModel for TextEngine {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn continue_each(
        &self,
        requests: &[TextRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        let engine = &self.engine;
        let first = engine.first_id();
        let mut session = engine.session();
        let mut samples: BTreeMap<RequestId, (usize, Vec<Option<Generation>>)> = BTreeMap::new();
        for (index, TextRequest { id, text, sampling, .. }) in requests.iter().enumerate() {
            let failed = |source| ModelError::Failed { id: id.clone(), source: Box::new(source) };
            let ids = engine.tokenizer().encode(text).map_err(failed);
            let submitted = ids.and_then(|ids| {
                let ids = first.into_iter().chain(ids).collect();
                session.submit_ids(id.clone(), ids, sampling.clone())
            });
            match submitted {
                Ok(id) => drop(samples.insert(id, (index, vec![None; sampling.n]))),
                Err(error) => on_answer(index, Err(error)),
            }
        }
        while !session.is_idle() {
            session.step(&mut |event| match event {
                Event::Finished { request, sample, generation } => {
                    if let Some((_, samples)) = samples.get_mut(&request) {
                        samples[sample] = Some(generation);
                    }
                }
                Event::Answered { request, result } => {
                    if let Some((index, samples)) = samples.remove(&request) {
                        on_answer(index, result.map(|()| samples.into_iter().flatten().collect()));
                    }
                }
                _ => {}
            });
        }
    }
}

impl TextLosses for TextEngine {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn losses(&self, texts: &[String]) -> Vec<Result<TextLoss, ModelError>> {
        texts.iter().enumerate().map(|(index, text)| self.loss(index, text)).collect()
    }
}
