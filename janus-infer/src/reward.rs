//! Reward models: a decoder with a value head, read at the last token of a conversation.

use std::path::Path;

use candle_core::Device;
use janus_core::{ChatTemplate, Message, ModelError, RewardModel, Role};
use janus_data::Tokenizer;

use crate::batch::{LogitsWanted, SequenceInput};
use crate::model::Model;
use crate::{
    Error, KvCache, ModelConfig, ModelFolder, Result, RewardLayout, RewardScale, Template, VALUE_HEAD,
    ValueHead, Weights,
};

/// How a [`RewardEngine`] runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewardOptions {
    /// The chat template to use instead of the one in the model's files.
    pub template: Option<ChatTemplate>,
    /// How a conversation becomes tokens; `None` for the layout of the program that wrote the
    /// checkpoint, which is known from where the value head is stored.
    pub layout: Option<RewardLayout>,
    /// The most tokens in the KV cache at a time; a longer conversation runs alone.
    pub batch_tokens: usize,
}

impl Default for RewardOptions {
    /// The template in the model's files, the layout of the program that wrote them, 4,096 tokens at a time.
    fn default() -> Self {
        Self { template: None, layout: None, batch_tokens: 4096 }
    }
}

impl RewardOptions {
    /// These options with the changes that `set` makes, as one expression:
    /// `options.with(|options| options.batch_tokens = 8192)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }
}

/// A local reward model.
///
/// Consecutive conversations with the same prompt share its prefill. Rewards are normalised by the mean
/// and standard deviation in the checkpoint's config, if it has them.
///
/// ```no_run
/// use candle_core::Device;
/// use janus_core::{Message, RewardModel};
/// use janus_infer::{RewardEngine, RewardOptions};
///
/// let model = RewardEngine::load("janus-rm", &Device::Cpu, RewardOptions::default())?;
/// let answered = |answer: &str| vec![Message::user("What is a kite?"), Message::assistant(answer)];
/// let rewards = model.rewards(&[answered("A toy that flies."), answered("No idea.")]);
/// println!("{:?} {:?}", rewards[0].as_ref().unwrap(), rewards[1].as_ref().unwrap());
/// # Ok::<(), janus_infer::Error>(())
/// ```
pub struct RewardEngine {
    name: String,
    model: Model,
    tokenizer: Tokenizer,
    template: Template,
    layout: RewardLayout,
    scale: Option<RewardScale>,
    batch_tokens: usize,
}

/// The token ids of a conversation.
struct Row {
    ids: Vec<u32>,
    /// Number of its prompt: neighbours with the same number have the same prompt.
    prompt: usize,
}

impl RewardEngine {
    /// Loads a folder with `config.json`, safetensors, `tokenizer.json` and `tokenizer_config.json`. The
    /// value head is in `value_head.safetensors` (as `janus-train` writes it) or among the weights
    /// (OpenRLHF): see [`ModelFolder::value_head`].
    ///
    /// # Errors
    /// [`Error::NoValueHead`]; [`Error::Template`], [`Error::Data`] for the tokenizer, those of
    /// [`Model::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device, options: RewardOptions) -> Result<Self> {
        Self::load_with(path.as_ref(), options, |config, head, weights| {
            Model::of_weights(config, Some(head), weights, device)
        })
    }

    /// Loads the folder; `model` builds the model from config, value head and weights.
    pub(crate) fn load_with(
        path: &Path,
        options: RewardOptions,
        model: impl FnOnce(ModelConfig, &[f32], &Weights) -> Result<Model>,
    ) -> Result<Self> {
        let folder = ModelFolder::new(path);
        let tokenizer = folder.tokenizer()?;
        let template =
            options.template.map_or_else(|| folder.template(&tokenizer), |template| Ok(template.into()))?;
        let (weights, config) = (folder.weights()?, folder.config()?);
        let head = folder.value_head(&config, &weights)?.ok_or_else(|| folder.no_value_head(VALUE_HEAD))?;
        weights.check_all_used(&config)?;
        let ValueHead { values: head, layout: written_as } = head;
        let scale = config.reward_scale;
        let model = model(config.model, &head, &weights)?;
        let name = folder.name().unwrap_or_else(|| "reward".into());
        let layout = options.layout.unwrap_or(written_as);
        Ok(Self { name, model, tokenizer, template, layout, scale, batch_tokens: options.batch_tokens })
    }

    /// Sets the model's name in results.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The scale of the rewards, if the checkpoint states one.
    pub fn scale(&self) -> Option<RewardScale> {
        self.scale
    }

    /// How a conversation becomes tokens.
    pub fn layout(&self) -> RewardLayout {
        self.layout
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The value head's output at the last token of each row of ids, without the reward scale: `[rows]`.
    ///
    /// # Errors
    /// [`Error::TokenId`], [`Error::NoTokens`].
    pub fn values<R: AsRef<[u32]>>(&self, rows: &[R]) -> Result<Vec<f32>> {
        let rows: Vec<Row> =
            rows.iter().enumerate().map(|(prompt, ids)| Row { ids: ids.as_ref().to_vec(), prompt }).collect();
        self.values_of(&rows.iter().collect::<Vec<_>>())
    }

    fn values_of(&self, rows: &[&Row]) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|row| {
                tokens += row.ids.len();
                tokens <= self.batch_tokens
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            values.extend(self.values_of_batch(now)?);
            rest = later;
        }
        Ok(values)
    }

    /// Prefills the common prefix of a prompt's rows once, then the rest of each row on a clone of that
    /// cache.
    fn values_of_batch(&self, rows: &[&Row]) -> Result<Vec<f32>> {
        let groups: Vec<(&[&Row], usize)> =
            rows.chunk_by(|a, b| a.prompt == b.prompt).map(|group| (group, common_prefix(group))).collect();
        let mut bases: Vec<KvCache> = groups.iter().map(|_| self.model.cache()).collect();
        let mut values = Vec::new();
        let prefixes = groups.iter().zip(&mut bases).filter(|((_, shared), _)| *shared > 0);
        let mut inputs: Vec<_> = prefixes
            .map(|((group, shared), cache)| SequenceInput {
                tokens: &group[0].ids[..*shared],
                cache,
                logits: LogitsWanted::None,
            })
            .collect();
        self.model.forward(&mut inputs, &mut values)?;
        let copies = groups.iter().zip(bases).flat_map(|((group, shared), base)| {
            group.iter().map(move |row| (&row.ids[*shared..], base.clone()))
        });
        let mut rests: Vec<(&[u32], KvCache)> = copies.collect();
        let mut inputs: Vec<_> = rests
            .iter_mut()
            .map(|(tokens, cache)| SequenceInput { tokens, cache, logits: LogitsWanted::Last })
            .collect();
        self.model.forward(&mut inputs, &mut values)?;
        Ok(values)
    }

    /// The ids of a conversation, or the reason why it has no reward.
    fn ids(&self, index: usize, messages: &[Message]) -> Result<Vec<u32>, ModelError> {
        let wrong = |reason: String| ModelError::Request { id: index.to_string(), reason };
        let Some((last, prompt)) = messages.split_last().filter(|(last, _)| last.role == Role::Assistant)
        else {
            return Err(wrong(
                "it does not end with an assistant message, so there is nothing to score".into(),
            ));
        };
        let ids = match self.layout {
            RewardLayout::Conversation => self.template.encode(messages, &self.tokenizer),
            RewardLayout::OpenRlhf => self.open_rlhf(prompt, &last.content),
        };
        let ids = ids.map_err(|error| wrong(error.to_string()))?;
        let ModelConfig { vocab_size, max_position_embeddings: context, .. } = *self.model.config();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(wrong(Error::TokenId { id, vocab_size }.to_string()));
        }
        // OpenRLHF truncates here, which may remove the answer.
        if ids.len() > context {
            return Err(ModelError::TooLong { id: index.to_string(), prompt_tokens: ids.len(), context });
        }
        Ok(ids)
    }

    fn open_rlhf(&self, prompt: &[Message], response: &str) -> Result<Vec<u32>> {
        let mut ids = self.template.encode(prompt, &self.tokenizer)?;
        ids.extend(self.tokenizer.encode(&format!("{} ", response.trim()))?);
        let end = self.model.config().eos_token_ids.first().copied();
        ids.extend(end.or_else(|| self.template.end_ids(&self.tokenizer).first().copied()));
        Ok(ids)
    }
}

impl RewardModel for RewardEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
        let mut prompt = 0;
        let mut rows = Vec::with_capacity(conversations.len());
        for (index, messages) in conversations.iter().enumerate() {
            if index > 0 && prompt_of(messages) != prompt_of(&conversations[index - 1]) {
                prompt += 1;
            }
            rows.push(self.ids(index, messages).map(|ids| Row { ids, prompt }));
        }
        let scorable: Vec<&Row> = rows.iter().filter_map(|row| row.as_ref().ok()).collect();
        let values = self.values_of(&scorable).map_err(std::sync::Arc::new);
        let mut values = values.map(|values| {
            values.into_iter().map(|value| self.scale.map_or(value, |scale| scale.apply(value)))
        });
        let reward = |(index, row): (usize, Result<Row, ModelError>)| {
            row?;
            match &mut values {
                Ok(values) => values.next().ok_or_else(|| ModelError::Request {
                    id: index.to_string(),
                    reason: "the model returned no value for it".into(),
                }),
                Err(error) => Err(ModelError::Failed {
                    id: index.to_string(),
                    source: Box::new(std::sync::Arc::clone(error)),
                }),
            }
        };
        rows.into_iter().enumerate().map(reward).collect()
    }
}

/// All but the last message.
fn prompt_of(messages: &[Message]) -> &[Message] {
    &messages[..messages.len().saturating_sub(1)]
}

/// Length of the prefix that all rows share, at most all but the last id of the shortest row; 0 for a
/// single row.
fn common_prefix(rows: &[&Row]) -> usize {
    let [first, others @ ..] = rows else { return 0 };
    let shared = |other: &&Row| {
        first
            .ids
            .iter()
            .zip(&other.ids)
            .take_while(|(a, b)| a == b)
            .count()
            .min(other.ids.len().saturating_sub(1))
    };
    others.iter().map(shared).min().unwrap_or(0).min(first.ids.len().saturating_sub(1))
}
