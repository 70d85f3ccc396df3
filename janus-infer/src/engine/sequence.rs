//! One sample of one request, from its first token to its end.

use std::sync::Arc;

use janus_core::{FinishReason, Generation, SamplingParams, TokenLogprob, TopLogprob};
use janus_data::Tokenizer;
use rayon::prelude::*;

use super::request::RequestId;
use super::stream::StreamState;
use crate::batch::{LogitsWanted, SequenceInput};
use crate::kernels::softmax::log_sum_exp;
use crate::sample::Sampler;
use crate::{Engine, KvCache};

/// A running sample.
pub(crate) struct Sequence {
    pub request: RequestId,
    /// Index of the sample within the request.
    pub sample: usize,
    prompt: Arc<[u32]>,
    max_tokens: usize,
    stop: Vec<String>,
    /// Tokens in which no stop text is searched for.
    min_tokens: usize,
    stop_token_ids: Vec<u32>,
    ignore_eos: bool,
    cache: KvCache,
    sampler: Sampler,
    /// Generated ids, including the end token.
    ids: Vec<u32>,
    logprobs: Option<Vec<TokenLogprob>>,
    top_logprobs: usize,
    end: Option<Ending>,
    stream: StreamState,
}

/// Why a sample failed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

enum Ending {
    /// The last id is an end of turn, or one of the request's stop tokens.
    EndToken,
    /// The text contains a stop text.
    StopText,
    Length,
    /// The ids cannot be decoded, or no token can be sampled from the logits.
    Failed(Failure),
}

impl Sequence {
    pub(crate) fn new(
        request: RequestId,
        sample: usize,
        params: &SamplingParams,
        prompt: Arc<[u32]>,
        cache: KvCache,
        sampler: Sampler,
    ) -> Self {
        Self {
            request,
            sample,
            prompt,
            max_tokens: params.max_tokens,
            stop: params.stop.clone(),
            min_tokens: params.min_tokens,
            stop_token_ids: params.stop_token_ids.clone(),
            ignore_eos: params.ignore_eos,
            cache,
            sampler,
            ids: Vec::new(),
            logprobs: params.logprobs.then(Vec::new),
            top_logprobs: params.top_logprobs,
            end: None,
            stream: StreamState::default(),
        }
    }

    /// The last token, as the input of the next forward pass.
    pub(crate) fn input(&mut self) -> SequenceInput<'_> {
        SequenceInput {
            tokens: &self.ids[self.ids.len() - 1..],
            cache: &mut self.cache,
            logits: LogitsWanted::Last,
        }
    }

    /// Whether the next forward pass needs another block of the cache.
    pub(crate) fn needs_block(&self) -> bool {
        self.cache.needs_block()
    }

    /// Frees the cache, and returns the tokens that it held.
    pub(crate) fn evict(&mut self) -> Arc<[u32]> {
        self.cache.clear();
        let decoded = &self.ids[..self.ids.len() - 1];
        self.prompt.iter().chain(decoded).copied().collect()
    }

    /// Continues with a cache that holds the tokens that [`Sequence::evict`] returned.
    pub(crate) fn resume(&mut self, cache: KvCache) {
        self.cache = cache;
    }

    /// [`Sequence::advance`] for each sequence, with its row of the logits.
    pub(crate) fn advance_all(sequences: &mut [Self], logits: &mut [f32], engine: &Engine) {
        let logits = logits.par_chunks_exact_mut(engine.model().config().vocab_size);
        sequences
            .par_iter_mut()
            .zip(logits)
            .with_min_len(4)
            .for_each(|(sequence, logits)| sequence.advance(logits, engine));
    }

    /// Chooses the next token from the logits after the last one.
    pub(crate) fn advance(&mut self, logits: &mut [f32], engine: &Engine) {
        // The sampler overwrites the logits.
        let top = most_likely(logits, self.top_logprobs);
        let choice = match self.sampler.next(logits) {
            Ok(choice) => choice,
            Err(error) => {
                self.end = Some(Ending::Failed(error.into()));
                return;
            }
        };
        self.ids.push(choice.id);
        let mut failed = None;
        if let (Some(logprobs), Some(logprob)) = (&mut self.logprobs, choice.logprob) {
            let named = |(id, logprob): (u32, f64)| Ok(TopLogprob::new(engine.token_text(id)?, logprob));
            match top.into_iter().map(named).collect::<Result<_, janus_data::Error>>() {
                Ok(top) => {
                    logprobs.push(TokenLogprob::new(f64::from(logprob)).with_id(choice.id).with_top(top))
                }
                Err(error) => failed = Some(Ending::Failed(error.into())),
            }
        }
        self.end = if failed.is_some() {
            failed
        } else if (!self.ignore_eos && engine.end_ids().contains(&choice.id))
            || self.stop_token_ids.contains(&choice.id)
        {
            Some(Ending::EndToken)
        } else {
            match self.has_stop_text(engine.tokenizer()) {
                Err(error) => Some(Ending::Failed(error.into())),
                Ok(true) => Some(Ending::StopText),
                Ok(false)
                    if self.ids.len() >= self.max_tokens
                        || self.prompt.len() + self.ids.len() >= engine.context() =>
                {
                    Some(Ending::Length)
                }
                Ok(false) => None,
            }
        };
    }

    pub(crate) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether the last tokens contain a stop text. Each token has at least one byte, so one token for
    /// each byte of the longest stop text is enough, with three more for a character that began earlier
    /// and one for a space that the decoder may drop.
    fn has_stop_text(&self, tokenizer: &Tokenizer) -> Result<bool, janus_data::Error> {
        let Some(longest) = self.stop.iter().map(String::len).max() else { return Ok(false) };
        let from = self.min_tokens.max(self.ids.len().saturating_sub(longest + 4));
        let tail = tokenizer.decode(self.ids.get(from..).unwrap_or_default())?;
        Ok(self.stop.iter().any(|stop| tail.contains(stop.as_str())))
    }

    /// The ids that are text.
    fn text_ids(&self) -> &[u32] {
        match self.end {
            Some(Ending::EndToken) => &self.ids[..self.ids.len() - 1],
            _ => &self.ids,
        }
    }

    /// The text, up to a stop text.
    fn text(&self, tokenizer: &Tokenizer) -> Result<String, janus_data::Error> {
        let mut text = tokenizer.decode(self.text_ids())?;
        // No stop text is searched for in the first `min_tokens` tokens.
        let unsearched = tokenizer.decode(self.ids.get(..self.min_tokens).unwrap_or(&self.ids))?.len();
        let from = text.floor_char_boundary(unsearched);
        let first = self.stop.iter().filter_map(|stop| text[from..].find(stop.as_str())).min();
        text.truncate(first.map_or(text.len(), |first| from + first));
        Ok(text)
    }

    /// The text that is new since the last call, with the log-probabilities since then; `None` if there
    /// is nothing to emit.
    pub(crate) fn take_delta(&mut self, engine: &Engine) -> Option<(String, Vec<TokenLogprob>)> {
        let tokenizer = engine.tokenizer();
        let text = if self.ended() {
            // `finish` reports a text that cannot be decoded.
            let text = self.text(tokenizer).ok()?;
            self.stream.rest(&text)
        } else {
            self.stream.delta(&self.ids, &self.stop, tokenizer).filter(|text| !text.is_empty())?
        };
        let logprobs = self.stream.new_logprobs(self.logprobs.as_deref().unwrap_or_default());
        (!text.is_empty() || !logprobs.is_empty()).then_some((text, logprobs))
    }

    /// The finished generation, or why it failed.
    pub(crate) fn finish(self, engine: &Engine) -> Result<Generation, Failure> {
        let finish_reason = match self.end {
            Some(Ending::Failed(error)) => return Err(error),
            Some(Ending::EndToken | Ending::StopText) => FinishReason::Stop,
            Some(Ending::Length) | None => FinishReason::Length,
        };
        let text = self.text(engine.tokenizer())?;
        let generation = Generation::new(text)
            .with_finish_reason(finish_reason)
            .with_tokens(self.prompt.len(), self.ids.len());
        Ok(generation.with_logprobs(self.logprobs))
    }
}

/// The most likely tokens with their log-probabilities, most likely first; of equals, the lowest id.
fn most_likely(logits: &[f32], count: usize) -> Vec<(u32, f64)> {
    if count == 0 {
        return Vec::new();
    }
    let normaliser = log_sum_exp(logits);
    let mut top: Vec<(f32, u32)> = Vec::with_capacity(count + 1);
    for (&logit, id) in logits.iter().zip(0u32..) {
        if top.len() < count || top.last().is_some_and(|last| logit > last.0) {
            top.insert(top.partition_point(|kept| kept.0 >= logit), (logit, id));
            top.truncate(count);
        }
    }
    top.into_iter().map(|(logit, id)| (id, f64::from(logit - normaliser))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_come_first_and_of_equals_the_lowest_id() {
        let ids = |count| {
            most_likely(&[0.0, 2.0, 1.0, 2.0, -1.0], count).into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!((ids(0), ids(3), ids(9)), (vec![], vec![1, 3, 2], vec![1, 3, 2, 0, 4]));
        let total: f64 = most_likely(&[0.0, 2.0, 1.0], 3).iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((total - 1.0).abs() < 1e-6);
    }
}
