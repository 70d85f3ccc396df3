//! Sample responses of a model while it trains, and the tokenizer that is saved with it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use janus_core::Message;
use janus_data::{ConversationFormat as _, Tokenizer, write_file};
use janus_infer::{LogitsWanted, Model, ModelFolder, SequenceInput, Template};
use serde_json::json;

use super::config::{Recipe, SampleConfig};
use crate::error::AtPath;
use crate::{Decoder, Error, Evaluation, Observer, Result, StepMetrics};

/// An observer that forwards every event to the run's own observer, saves the tokenizer with every
/// model, and writes samples.
pub(super) struct Sampling<'a> {
    observer: &'a mut dyn Observer,
    last_step: Option<StepMetrics>,
    samples: Option<&'a SampleConfig>,
    tokenizer: &'a Tokenizer,
    template: &'a Template,
    /// The model that training starts from.
    source: Option<ModelFolder>,
    /// One file for each evaluation, so that an interrupted and resumed run has the same files.
    folder: PathBuf,
}

impl<'a> Sampling<'a> {
    pub(super) fn new(
        observer: &'a mut dyn Observer,
        recipe: &'a Recipe,
        tokenizer: &'a Tokenizer,
        template: &'a Template,
        out: &Path,
    ) -> Self {
        let (samples, folder) = (recipe.samples.as_ref(), out.join("samples"));
        let source = recipe.model.path.as_ref().map(ModelFolder::new);
        Self { observer, last_step: None, samples, tokenizer, template, source, folder }
    }

    pub(super) fn last_step(self) -> Option<StepMetrics> {
        self.last_step
    }

    /// Deletes the samples that were written when an observer stopped the run. Called at the end of the
    /// run, which then has the same files as a run that was never stopped.
    ///
    /// # Errors
    /// If the folder cannot be read or a file cannot be deleted.
    pub(super) fn remove_stop_samples(&self, is_due: impl Fn(u64) -> bool) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&self.folder).at(&self.folder)? {
            let path = entry.at(&self.folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let step = name.strip_prefix("step-").and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
            if step.is_some_and(|step| !is_due(step)) {
                std::fs::remove_file(&path).at(&path)?;
            }
        }
        Ok(())
    }

    /// Writes the model's responses after `step` steps, if the recipe has `[samples]`.
    ///
    /// # Errors
    /// If the model fails or the file cannot be written.
    pub(super) fn sample(&self, step: u64, decoder: &Decoder) -> Result<()> {
        let Some(samples) = self.samples else { return Ok(()) };
        let model = decoder.to_model()?;
        let mut lines = String::new();
        for prompt in &samples.prompts {
            let response = self.response(&model, samples, prompt)?;
            lines.push_str(&format!("{}\n", json!({ "step": step, "prompt": prompt, "response": response })));
        }
        std::fs::create_dir_all(&self.folder).at(&self.folder)?;
        Ok(write_file(self.folder.join(format!("step-{step:06}.jsonl")), lines.as_bytes())?)
    }

    /// The greedy response to a prompt.
    fn response(&self, model: &Model, samples: &SampleConfig, prompt: &str) -> Result<String> {
        let system = (!samples.system.is_empty()).then(|| Message::system(samples.system.clone()));
        let messages: Vec<Message> = system.into_iter().chain([Message::user(prompt)]).collect();
        let mut ids = self.template.prompt(self.tokenizer, &messages)?;
        let (prompt, ends) = (ids.len(), self.template.end_ids(self.tokenizer));
        let (mut cache, mut logits, mut fed) = (model.cache(), Vec::new(), 0);
        while ids.len() < prompt + samples.max_tokens {
            let feed = SequenceInput::new(&ids[fed..], &mut cache, LogitsWanted::Last);
            model.forward(&mut [feed], &mut logits)?;
            fed = ids.len();
            let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best })
                as u32;
            if ends.contains(&best) {
                break;
            }
            ids.push(best);
        }
        Ok(self.tokenizer.decode(&ids[prompt..])?)
    }
}

impl Observer for Sampling<'_> {
    fn begin(&mut self, steps: u64, done: u64) {
        self.observer.begin(steps, done);
    }

    fn step(&mut self, step: &StepMetrics) -> ControlFlow<()> {
        self.last_step = Some(step.clone());
        self.observer.step(step)
    }

    fn evaluated(&mut self, evaluation: &Evaluation, decoder: &Decoder) -> Result<ControlFlow<()>> {
        let flow = self.observer.evaluated(evaluation, decoder)?;
        self.sample(evaluation.step, decoder)?;
        Ok(flow)
    }

    fn saved(&mut self, folder: &Path) -> Result<(), Error> {
        ModelFolder::new(folder).write_tokenizer(self.tokenizer, self.template, self.source.as_ref())?;
        self.observer.saved(folder)
    }
}
