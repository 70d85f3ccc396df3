//! What is shown while a recipe's model trains: progress, evaluations, answers to look at.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use janus_core::{ChatTemplate, Message};
use janus_data::{Tokenizer, write_file};
use janus_infer::{LogitsWanted, Model, SequenceInput};
use janus_train::{Decoder, Error, Evaluation, Observer, Result, StepMetrics};
use serde_json::json;

use super::recipe::{Recipe, Samples};
use crate::progress::Progress;

/// Looks on.
pub(super) struct Watch<'a> {
    progress: Progress,
    last: Option<StepMetrics>,
    samples: Option<&'a Samples>,
    tokenizer: &'a Tokenizer,
    template: ChatTemplate,
    /// One file for each evaluation, so that a run that is cut off leaves the same ones.
    folder: PathBuf,
}

impl<'a> Watch<'a> {
    pub(super) fn new(progress: Progress, recipe: &'a Recipe, tokenizer: &'a Tokenizer, out: &Path) -> Self {
        let (samples, template) = (recipe.samples.as_ref(), recipe.template);
        Self { progress, last: None, samples, tokenizer, template, folder: out.join("samples") }
    }

    /// Ends the display and gives the last step back.
    pub(super) fn finish(self) -> Option<StepMetrics> {
        self.progress.finish();
        self.last
    }

    /// The greedy answer to a prompt.
    fn answer(&self, model: &Model, samples: &Samples, prompt: &str) -> std::result::Result<String, String> {
        let system = (!samples.system.is_empty()).then(|| Message::system(samples.system.clone()));
        let messages: Vec<Message> = system.into_iter().chain([Message::user(prompt)]).collect();
        let rendered = self.template.render(&messages).map_err(|error| error.to_string())?;
        let mut ids = self.tokenizer.encode_rendered(&rendered).map_err(|error| error.to_string())?;
        let (prompt, end) = (ids.len(), self.tokenizer.token_id(self.template.end_of_turn()));
        let (mut cache, mut logits, mut fed) = (model.cache(), Vec::new(), 0);
        while ids.len() < prompt + samples.max_tokens {
            let feed = SequenceInput { tokens: &ids[fed..], cache: &mut cache, logits: LogitsWanted::Last };
            model.forward(&mut [feed], &mut logits).map_err(|error| error.to_string())?;
            fed = ids.len();
            let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best }) as u32;
            if Some(best) == end {
                break;
            }
            ids.push(best);
        }
        self.tokenizer.decode(&ids[prompt..]).map_err(|error| error.to_string())
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, step: &StepMetrics) {
        self.progress.note(format!("loss {:.3}, {:.0} tokens/s", step.loss, step.tokens_per_second()));
        self.progress.reach(step.step);
        self.last = Some(step.clone());
    }

    fn evaluated(&mut self, evaluation: &Evaluation, decoder: &Decoder) -> Result<()> {
        eprintln!("step {}: held-out loss {:.4} {:?}", evaluation.step, evaluation.loss, evaluation.figures);
        self.sample(evaluation.step, decoder)
    }

    fn saved(&mut self, folder: &Path) -> Result<()> {
        let saved = self.tokenizer.save_with_template(folder, self.template);
        saved.map_err(|error| Error::Malformed { path: folder.into(), reason: error.to_string() })
    }
}

impl Watch<'_> {
    /// Writes what the model answers after `step` steps, if the recipe asks for it.
    ///
    /// # Errors
    /// If the model fails or the file cannot be written.
    pub(super) fn sample(&self, step: u64, decoder: &Decoder) -> Result<()> {
        let Some(samples) = self.samples else { return Ok(()) };
        let file = self.folder.join(format!("step-{step:06}.jsonl"));
        let malformed = |reason: String| Error::Malformed { path: file.clone(), reason };
        let merged = decoder.detached()?.merged()?;
        let weight = |name: &str, _: &[usize]| {
            let found = merged
                .weights()
                .get(name)
                .map(|weight| weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>());
            found.unwrap_or_else(|| Err(candle_core::Error::Msg(format!("there is no {name}")))).map_err(janus_infer::Error::from)
        };
        let model = Model::from_weights(merged.config().clone(), weight)?;
        let mut lines = String::new();
        for prompt in &samples.prompts {
            let response = self.answer(&model, samples, prompt).map_err(malformed)?;
            lines.push_str(&format!("{}\n", json!({ "step": step, "prompt": prompt, "response": response })));
        }
        std::fs::create_dir_all(&self.folder).map_err(|source| Error::Io { path: self.folder.clone(), source })?;
        write_file(&file, lines.as_bytes()).map_err(|error| malformed(error.to_string()))
    }
}
