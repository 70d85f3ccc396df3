//! A model that answers requests: a [`Model`] with its tokenizer and chat template.
//!
//! A sequence does not depend on the others of its batch (see [`Model::forward`] and
//! [`Sampler`](crate::Sampler)), so batching changes only the speed of an answer. On a device it may
//! also change rounding, and so an answer in which two tokens are equally likely up to rounding.

mod generate;
mod queue;
mod request;
mod sequence;
mod session;
mod stream;
pub(crate) mod token_text;

use std::collections::HashSet;
use std::path::Path;

use candle_core::Device;
use janus_core::{ChatRequest, ChatTemplate, Message, ModelError, SamplingParams};
use janus_data::Tokenizer;

use crate::{Error, Model, ModelFolder, Result, Template, TemplateProblem};
pub use request::{Event, RequestId, SessionStats};
pub use session::Session;
use token_text::TokenTexts;

/// How an [`Engine`] runs.
///
/// ```
/// use janus_infer::EngineOptions;
/// let options = EngineOptions::default().with(|options| options.max_context = Some(8192));
/// assert_eq!(options.max_sequences, 64);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// The most sequences that run at a time.
    pub max_sequences: usize,
    /// The most tokens of prompt and answer together; the model's own context if that is shorter.
    pub max_context: Option<usize>,
    /// The most prompt tokens that are prefilled in a step. A longer prompt is prefilled in chunks, and
    /// running sequences decode a token after each.
    pub prefill_tokens: usize,
    /// The most bytes of the KV cache. Requests wait while it is full. On a device the cache is
    /// allocated as it is needed, each time growing to at most twice its size.
    pub cache_bytes: usize,
    /// The chat template to use instead of the one in the model's files.
    pub template: Option<ChatTemplate>,
}

impl Default for EngineOptions {
    /// 64 sequences, the model's context, 1,024 prompt tokens in a step, 4 GiB of KV cache, the template
    /// in the model's files.
    fn default() -> Self {
        Self {
            max_sequences: 64,
            max_context: None,
            prefill_tokens: 1024,
            cache_bytes: 4 << 30,
            template: None,
        }
    }
}

impl EngineOptions {
    /// These options with the changes that `set` makes, as one expression:
    /// `options.with(|options| options.max_sequences = 8)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
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
/// let request = ChatRequest::new("1", [Message::system("Answer in one sentence."), Message::user("What is a kite?")])
///     .with_sampling(SamplingParams { max_tokens: 64, ..SamplingParams::default() });
/// println!("{}", engine.generate(&[request])[0].as_ref().unwrap()[0].text);
/// # Ok::<(), janus_infer::Error>(())
/// ```
pub struct Engine {
    name: String,
    model: Model,
    tokenizer: Tokenizer,
    token_texts: TokenTexts,
    /// Tokens that end a generation.
    end_ids: Vec<u32>,
    /// The token before a plain text.
    first_id: Option<u32>,
    template: Template,
    options: EngineOptions,
}

impl Engine {
    /// Loads a folder (`config.json`, safetensors, `tokenizer.json`, `tokenizer_config.json`) or a
    /// `.gguf` file, which contains all of these.
    ///
    /// # Errors
    /// [`Error::Template`] if the files have a chat template that cannot be used and
    /// [`EngineOptions::template`] is `None` (without any, the engine continues texts and refuses chats);
    /// [`Error::Data`] for the tokenizer; those of [`Model::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device, options: EngineOptions) -> Result<Self> {
        let folder = ModelFolder::new(path.as_ref());
        let tokenizer = folder.tokenizer()?;
        let template = match options.template {
            Some(template) => template.into(),
            None => match folder.template(&tokenizer) {
                Err(Error::Template { path, problem: TemplateProblem::Missing }) => Template::Absent(path),
                template => template?,
            },
        };
        let model = Model::of_folder(&folder, device)?;
        let name = folder.name().unwrap_or_else(|| "model".into());
        let mut engine = Self::new(model, tokenizer, template, options).with_name(name);
        match folder.adds_bos()? {
            Some(false) => engine.first_id = None,
            Some(true) => engine.first_id = engine.first_id.or(engine.model.config().bos_token_id),
            None => {}
        }
        Ok(engine)
    }

    /// Builds an engine from its parts, with `template` and not [`EngineOptions::template`]. A
    /// generation ends at the template's end of turn or at any of the config's end-of-sequence tokens.
    pub fn new(
        model: Model,
        tokenizer: Tokenizer,
        template: impl Into<Template>,
        options: EngineOptions,
    ) -> Self {
        let template = template.into();
        let mut end_ids = template.end_ids(&tokenizer);
        end_ids.extend(&model.config().eos_token_ids);
        let mut seen = HashSet::new();
        end_ids.retain(|id| seen.insert(*id));
        model.blocks().set_limit(options.cache_bytes / model.blocks().block_bytes());
        let token_texts = TokenTexts::new(&tokenizer);
        let first_id = first_id(&template, &tokenizer);
        Self { name: "model".into(), model, tokenizer, token_texts, end_ids, first_id, template, options }
    }

    /// Sets the model's name in results.
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
        &self.tokenizer
    }

    /// The chat template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The most tokens that a prompt and its answer may have together.
    pub fn context(&self) -> usize {
        let context = self.model.config().max_position_embeddings;
        self.options.max_context.map_or(context, |max| max.min(context))
    }

    /// A token's text, as log-probabilities show it.
    pub(crate) fn token_text(&self, id: u32) -> Result<String, janus_data::Error> {
        self.token_texts.text(id, &self.tokenizer)
    }

    /// The token that the model was trained with before every text, such as `<s>`, if there is one.
    pub(crate) fn first_id(&self) -> Option<u32> {
        self.first_id
    }

    /// Tokens that end a generation.
    pub(crate) fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// The most blocks of the KV cache that may be in memory.
    pub(crate) fn block_limit(&self) -> usize {
        self.options.cache_bytes / self.model.blocks().block_bytes()
    }

    /// The ids of a request's prompt, or the reason why it cannot be answered.
    pub(crate) fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, ModelError> {
        let wrong = |reason: String| ModelError::Request { id: request.id.clone(), reason };
        request.sampling.validate().map_err(|rule| ModelError::Invalid { id: request.id.clone(), rule })?;
        let ids = self
            .template
            .encode_prompt(&request.messages, &self.tokenizer)
            .map_err(|error| wrong(error.to_string()))?;
        self.check(&request.id, &ids, &request.sampling)?;
        Ok(ids)
    }

    /// The ids of a request whose last message the model continues.
    #[cfg(feature = "server")]
    pub(crate) fn unfinished_prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, ModelError> {
        let wrong = |reason: String| ModelError::Request { id: request.id.clone(), reason };
        let ids = self
            .template
            .encode_unfinished(&request.messages, &self.tokenizer)
            .map_err(|error| wrong(error.to_string()))?;
        self.check(&request.id, &ids, &request.sampling)?;
        Ok(ids)
    }

    /// Refuses a prompt that cannot be answered.
    pub(crate) fn check(&self, id: &str, ids: &[u32], sampling: &SamplingParams) -> Result<(), ModelError> {
        let wrong = |reason: String| ModelError::Request { id: id.into(), reason };
        sampling.validate().map_err(|rule| ModelError::Invalid { id: id.into(), rule })?;
        if ids.is_empty() {
            return Err(wrong("the prompt has no tokens: expected at least one".into()));
        }
        let vocab_size = self.model.config().vocab_size;
        let named = [
            ("stop_token_ids", &sampling.stop_token_ids),
            ("logit_bias", &sampling.logit_bias.keys().copied().collect()),
        ];
        for (field, ids) in named {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(wrong(format!("{field} names token {id}: the model has {vocab_size} tokens")));
            }
        }
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(wrong(Error::TokenId { id, vocab_size }.to_string()));
        }
        if ids.len() >= self.context() {
            return Err(ModelError::TooLong {
                id: id.into(),
                prompt_tokens: ids.len(),
                context: self.context(),
            });
        }
        Ok(())
    }
}

/// The token that conversations begin with, if it is nowhere else in them: a model is trained with it before
/// every text. `<s>` is such a token; ChatML's `<|im_start|>`, which begins each turn, is not. Without such a
/// token the tokenizer says which one it adds.
fn first_id(template: &Template, tokenizer: &Tokenizer) -> Option<u32> {
    first_of_conversations(template, tokenizer).or_else(|| tokenizer.added_first())
}

fn first_of_conversations(template: &Template, tokenizer: &Tokenizer) -> Option<u32> {
    let conversation = [Message::user("a"), Message::assistant("b"), Message::user("c")];
    let ids = template.encode(&conversation, tokenizer).ok()?;
    let (&first, rest) = ids.split_first()?;
    let special = tokenizer.special_tokens().iter().any(|(id, _)| *id == first);
    (special && !rest.contains(&first)).then_some(first)
}
