//! A model that answers requests: continuous batching over one [`Model`].
//!
//! A prompt is read once, however many samples are asked of it; each sample continues on a copy of its cache. All
//! running sequences advance by one token a step; one that ends leaves, and its place is taken before the next step. What
//! a sequence becomes does not depend on its neighbours (see [`Model::forward`] and [`Sampler`]), so batching changes
//! the speed of an answer and nothing else.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use janus_core::{ChatModel, ChatRequest, ChatTemplate, Generation, ModelError};
use janus_data::Tokenizer;
use rayon::prelude::*;

use crate::cache::KvCache;
use crate::model::{Feed, Logits, Model};
use crate::sequence::{Sequence, Vocabulary};
use crate::{Error, Result, Sampler, Template, folder};

/// How an [`Engine`] runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Sequences that run at a time. Each takes memory for its keys and values.
    pub max_sequences: usize,
    /// Tokens of prompt and answer together, at the most; the model's own context if that is shorter.
    pub max_context: Option<usize>,
    /// Prompt tokens that are read at a time; a longer prompt is read alone.
    pub prefill_tokens: usize,
    /// The chat template, instead of what the files say.
    pub template: Option<ChatTemplate>,
}

impl Default for EngineOptions {
    /// 64 sequences, the model's context, 1,024 prompt tokens at a time, the files' template.
    fn default() -> Self {
        Self { max_sequences: 64, max_context: None, prefill_tokens: 1024, template: None }
    }
}

/// A local chat model.
///
/// ```no_run
/// use candle_core::Device;
/// use janus_core::{ChatModel, ChatRequest, Message, SamplingParams};
/// use janus_infer::{Engine, EngineOptions};
///
/// let engine = Engine::load("smollm2.gguf", &Device::Cpu, EngineOptions::default())?;
/// let request = ChatRequest {
///     id: "1".into(),
///     messages: vec![Message::system("Answer in one sentence."), Message::user("What is a kite?")],
///     sampling: SamplingParams { max_tokens: 64, ..SamplingParams::default() },
/// };
/// println!("{}", engine.generate(&[request])[0].as_ref().unwrap()[0].text);
/// # Ok::<(), janus_infer::Error>(())
/// ```
pub struct Engine {
    name: String,
    model: Model,
    vocabulary: Vocabulary,
    template: Template,
    options: EngineOptions,
}

impl Engine {
    /// Loads a folder (`config.json`, safetensors, `tokenizer.json`, `tokenizer_config.json`) or a `.gguf` file, which
    /// has all of these inside.
    ///
    /// # Errors
    /// [`Error::Template`] if the files do not tell a known chat template and [`EngineOptions::template`] does not either; [`Error::Tokenizer`];
    /// those of [`Model::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device, options: EngineOptions) -> Result<Self> {
        let path = path.as_ref();
        let (tokenizer, template) = folder::tokenizer_and_template(path, options.template)?;
        let model = Model::load(path, device)?;
        let name = path.file_stem().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self::new(model, tokenizer, template, options).with_name(name))
    }

    /// Puts an engine together; `template` counts, not that of the options. A generation ends at the template's end of
    /// turn or at the config's end of text.
    pub fn new(model: Model, tokenizer: Tokenizer, template: impl Into<Template>, options: EngineOptions) -> Self {
        let template = template.into();
        let mut end_ids = template.end_ids(&tokenizer);
        end_ids.extend(model.config().eos_token_id.filter(|id| !end_ids.contains(id)));
        let vocabulary = Vocabulary { tokenizer, end_ids };
        Self { name: "model".into(), model, vocabulary, template, options }
    }

    /// Gives the model a name in results.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.vocabulary.tokenizer
    }

    /// The chat template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Tokens that a prompt and its answer may have together.
    pub fn context(&self) -> usize {
        let context = self.model.config().max_position_embeddings;
        self.options.max_context.map_or(context, |max| max.min(context))
    }

    /// The ids of a request's prompt, or why it cannot be answered.
    fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, ModelError> {
        let wrong = |reason: String| ModelError::Request { id: request.id.clone(), reason };
        request.sampling.validate().map_err(|error| wrong(error.to_string()))?;
        let ids = self.template.encode(&request.messages, &self.vocabulary.tokenizer).map_err(|error| wrong(error.to_string()))?;
        let vocab_size = self.model.config().vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(wrong(Error::TokenId { id, vocab_size }.to_string()));
        }
        if ids.len() >= self.context() {
            return Err(ModelError::TooLong { id: request.id.clone(), prompt_tokens: ids.len(), context: self.context() });
        }
        Ok(ids)
    }
}

impl ChatModel for Engine {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        let mut batch = Batch::new(self, requests);
        for (index, request) in requests.iter().enumerate() {
            match self.prompt(request) {
                Ok(ids) => batch.waiting.push_back(Prompt { request: index, ids, read: None, next_sample: 0 }),
                Err(error) => batch.answer(index, Err(error), on_answer),
            }
        }
        if let Err(error) = batch.run(on_answer) {
            batch.fail(error, on_answer);
        }
    }
}

/// A request whose samples have not all begun.
struct Prompt {
    request: usize,
    ids: Vec<u32>,
    /// The cache after the prompt, and the logits.
    read: Option<(KvCache, Vec<f32>)>,
    next_sample: usize,
}

type OnAnswer<'a> = dyn FnMut(usize, Result<Vec<Generation>, ModelError>) + 'a;

/// The state of one call of `generate_each`.
struct Batch<'a> {
    engine: &'a Engine,
    requests: &'a [ChatRequest],
    waiting: VecDeque<Prompt>,
    running: Vec<Sequence>,
    /// Finished samples of each request, by sample.
    done: Vec<Vec<Option<Generation>>>,
    answered: Vec<bool>,
    logits: Vec<f32>,
}

impl<'a> Batch<'a> {
    fn new(engine: &'a Engine, requests: &'a [ChatRequest]) -> Self {
        Self {
            engine,
            requests,
            waiting: VecDeque::new(),
            running: Vec::new(),
            done: vec![Vec::new(); requests.len()],
            answered: vec![false; requests.len()],
            logits: Vec::new(),
        }
    }

    /// Runs until nothing waits or runs.
    fn run(&mut self, on_answer: &mut OnAnswer<'_>) -> Result<()> {
        loop {
            self.admit()?;
            self.retire(on_answer);
            if self.running.is_empty() && self.waiting.is_empty() {
                return Ok(());
            }
            self.step()?;
        }
    }

    /// Begins samples while there is room, reading their prompts together.
    fn admit(&mut self) -> Result<()> {
        let limit = self.engine.options.max_sequences.max(1);
        while self.running.len() < limit && !self.waiting.is_empty() {
            self.read_prompts(limit - self.running.len())?;
            while self.running.len() < limit
                && let Some(prompt) = self.waiting.front_mut()
                && let Some((cache, logits)) = &mut prompt.read
            {
                let request = &self.requests[prompt.request];
                let last = prompt.next_sample + 1 == request.sampling.n;
                let cache = if last { std::mem::replace(cache, self.engine.model.cache()) } else { cache.clone() };
                let sampler = Sampler::new(&request.sampling, &request.id, prompt.next_sample, &prompt.ids);
                let mut sequence = Sequence::new(prompt.request, prompt.next_sample, &request.sampling, prompt.ids.len(), cache, sampler);
                sequence.advance(&mut logits.clone(), &self.engine.vocabulary, self.engine.context());
                self.running.push(sequence);
                prompt.next_sample += 1;
                if last {
                    self.waiting.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Reads the prompts at the head of the queue that have room for a first sample, as many as go together.
    fn read_prompts(&mut self, mut room: usize) -> Result<()> {
        let mut count = 0;
        let mut tokens = 0;
        let mut unread = Vec::new();
        for prompt in &mut self.waiting {
            if room == 0 || count > 0 && tokens + prompt.ids.len() > self.engine.options.prefill_tokens {
                break;
            }
            room = room.saturating_sub(self.requests[prompt.request].sampling.n - prompt.next_sample);
            if prompt.read.is_none() {
                count += 1;
                tokens += prompt.ids.len();
                unread.push((prompt, self.engine.model.cache()));
            }
        }
        if unread.is_empty() {
            return Ok(());
        }
        let mut feeds: Vec<_> =
            unread.iter_mut().map(|(prompt, cache)| Feed { tokens: &prompt.ids, cache, logits: Logits::Last }).collect();
        self.engine.model.forward(&mut feeds, &mut self.logits)?;
        for ((prompt, cache), logits) in unread.into_iter().zip(self.logits.chunks_exact(self.engine.model.config().vocab_size)) {
            prompt.read = Some((cache, logits.to_vec()));
        }
        Ok(())
    }

    /// Advances every running sequence by one token.
    fn step(&mut self) -> Result<()> {
        let Engine { model, vocabulary, .. } = self.engine;
        let mut feeds: Vec<_> = self.running.iter_mut().map(Sequence::feed).collect();
        model.forward(&mut feeds, &mut self.logits)?;
        let context = self.engine.context();
        let logits = self.logits.par_chunks_exact_mut(model.config().vocab_size);
        self.running
            .par_iter_mut()
            .zip(logits)
            .with_min_len(4)
            .for_each(|(sequence, logits)| sequence.advance(logits, vocabulary, context));
        Ok(())
    }

    /// Takes out what has ended and answers the requests that are complete.
    fn retire(&mut self, on_answer: &mut OnAnswer<'_>) {
        let ended: Vec<_> = self.running.extract_if(.., |sequence| sequence.ended()).collect();
        for sequence in ended {
            let (request, sample) = (sequence.request, sequence.sample);
            let ChatRequest { id, sampling, .. } = &self.requests[request];
            match sequence.finish(&self.engine.vocabulary) {
                Ok(generation) => {
                    let samples = &mut self.done[request];
                    samples.resize(sampling.n, None);
                    samples[sample] = Some(generation);
                    if samples.iter().all(Option::is_some) {
                        let samples = std::mem::take(samples).into_iter().flatten().collect();
                        self.answer(request, Ok(samples), on_answer);
                    }
                }
                Err(error) => {
                    self.waiting.retain(|prompt| prompt.request != request);
                    self.running.retain(|sequence| sequence.request != request);
                    self.answer(request, Err(ModelError::Failed { id: id.clone(), source: Box::new(error) }), on_answer);
                }
            }
        }
    }

    /// Answers every request that is not answered yet with an error.
    fn fail(&mut self, error: Error, on_answer: &mut OnAnswer<'_>) {
        let error = Arc::new(error);
        for (request, ChatRequest { id, .. }) in self.requests.iter().enumerate() {
            self.answer(request, Err(ModelError::Failed { id: id.clone(), source: Box::new(Arc::clone(&error)) }), on_answer);
        }
    }

    /// Passes an answer on, once for each request.
    fn answer(&mut self, request: usize, answer: Result<Vec<Generation>, ModelError>, on_answer: &mut OnAnswer<'_>) {
        if !std::mem::replace(&mut self.answered[request], true) {
            on_answer(request, answer);
        }
    }
}
