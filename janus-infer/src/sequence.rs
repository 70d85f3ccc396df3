//! One sample of one request, from its first token to its end.

use janus_core::{FinishReason, Generation, SamplingParams, TokenLogprob};
use janus_data::Tokenizer;

use crate::attention::KvCache;
use crate::model::{Feed, Logits};
use crate::sample::Sampler;

/// What turns ids into text and says where a text ends.
pub(crate) struct Vocabulary {
    pub tokenizer: Tokenizer,
    /// Tokens that end a generation.
    pub end_ids: Vec<u32>,
}

/// A running sample.
pub(crate) struct Sequence {
    /// Index of the request.
    pub request: usize,
    /// Index of the sample within the request.
    pub sample: usize,
    prompt_tokens: usize,
    max_tokens: usize,
    stop: Vec<String>,
    cache: KvCache,
    sampler: Sampler,
    /// Generated ids, the end of turn included.
    ids: Vec<u32>,
    logprobs: Option<Vec<TokenLogprob>>,
    end: Option<Ending>,
}

enum Ending {
    /// The last id is an end of turn.
    EndOfTurn,
    /// A stop text was met.
    StopText,
    Length,
    /// The ids are no text.
    Failed(janus_data::Error),
}

impl Sequence {
    pub(crate) fn new(
        request: usize,
        sample: usize,
        params: &SamplingParams,
        prompt_tokens: usize,
        cache: KvCache,
        sampler: Sampler,
    ) -> Self {
        Self {
            request,
            sample,
            prompt_tokens,
            max_tokens: params.max_tokens,
            stop: params.stop.clone(),
            cache,
            sampler,
            ids: Vec::new(),
            logprobs: params.logprobs.then(Vec::new),
            end: None,
        }
    }

    /// The last token, to be fed.
    pub(crate) fn feed(&mut self) -> Feed<'_> {
        Feed { tokens: &self.ids[self.ids.len() - 1..], cache: &mut self.cache, logits: Logits::Last }
    }

    /// Chooses the next token from the logits after the last one.
    pub(crate) fn advance(&mut self, logits: &mut [f32], vocabulary: &Vocabulary, context: usize) {
        let choice = self.sampler.next(logits);
        self.ids.push(choice.id);
        if let (Some(logprobs), Some(logprob)) = (&mut self.logprobs, choice.logprob) {
            logprobs.push(TokenLogprob { id: choice.id, logprob });
        }
        self.end = if vocabulary.end_ids.contains(&choice.id) {
            Some(Ending::EndOfTurn)
        } else {
            match self.met_stop_text(&vocabulary.tokenizer) {
                Err(error) => Some(Ending::Failed(error)),
                Ok(true) => Some(Ending::StopText),
                Ok(false) if self.ids.len() >= self.max_tokens || self.prompt_tokens + self.ids.len() >= context => Some(Ending::Length),
                Ok(false) => None,
            }
        };
    }

    pub(crate) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// The last tokens contain a stop text. Each token of a text has at least one byte, so it need not be looked for
    /// further back than it is long; a character may begin up to three tokens earlier, and the
    /// decoder may drop the first token's space.
    fn met_stop_text(&self, tokenizer: &Tokenizer) -> Result<bool, janus_data::Error> {
        let Some(longest) = self.stop.iter().map(String::len).max() else { return Ok(false) };
        let tail = tokenizer.decode(&self.ids[self.ids.len().saturating_sub(longest + 4)..])?;
        Ok(self.stop.iter().any(|stop| tail.contains(stop.as_str())))
    }

    /// What was generated, and the cache for the next sequence.
    pub(crate) fn finish(self, vocabulary: &Vocabulary) -> (Result<Generation, janus_data::Error>, KvCache) {
        let completion_tokens = self.ids.len();
        let (finish_reason, text_ids) = match self.end {
            Some(Ending::Failed(error)) => return (Err(error), self.cache),
            Some(Ending::EndOfTurn) => (FinishReason::Stop, &self.ids[..completion_tokens - 1]),
            Some(Ending::StopText) => (FinishReason::Stop, &self.ids[..]),
            Some(Ending::Length) | None => (FinishReason::Length, &self.ids[..]),
        };
        let cut = |mut text: String| {
            let first = self.stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
            text.truncate(first.unwrap_or(text.len()));
            text
        };
        let generation = vocabulary.tokenizer.decode(text_ids).map(|text| Generation {
            text: cut(text),
            finish_reason,
            prompt_tokens: self.prompt_tokens,
            completion_tokens,
            logprobs: self.logprobs,
        });
        (generation, self.cache)
    }
}
