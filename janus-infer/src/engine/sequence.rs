//! One sample of one request, from its first token to its end.

use std::sync::Arc;

use janus_core::{FinishReason, Generation, SamplingParams, TokenLogprob, TopLogprob};
use janus_data::Tokenizer;
use rayon::prelude::*;

use super::session::Ticket;
use crate::Engine;
use crate::batch::{LogitsWanted, SequenceInput};
use crate::kernels::elementwise::log_sum_exp;
use crate::kv::KvCache;
use crate::sample::Sampler;

/// A running sample.
pub(crate) struct Sequence {
    /// The request.
    pub ticket: Ticket,
    /// Index of the sample within the request.
    pub sample: usize,
    prompt: Arc<[u32]>,
    max_tokens: usize,
    stop: Vec<String>,
    cache: KvCache,
    sampler: Sampler,
    /// Generated ids, the end of turn included.
    ids: Vec<u32>,
    logprobs: Option<Vec<TokenLogprob>>,
    top_logprobs: usize,
    end: Option<Ending>,
    told: Told,
}

/// Why a sample has no end.
type Failure = Box<dyn std::error::Error + Send + Sync>;

enum Ending {
    /// The last id is an end of turn.
    EndOfTurn,
    /// A stop text was met.
    StopText,
    Length,
    /// The ids are no text, or the logits no numbers.
    Failed(Failure),
}

/// What was told of a text that grows.
#[derive(Default)]
struct Told {
    /// The text so far, as far as its characters are whole.
    text: String,
    /// Ids that `text` is made of.
    ids: usize,
    /// The id from which the next ones are decoded: a text does not begin with them, so what a decoder does to a beginning
    /// does not befall them.
    from: usize,
    /// Bytes of `text` that were told; the others may begin a stop text.
    bytes: usize,
    logprobs: usize,
}

impl Sequence {
    pub(crate) fn new(
        ticket: Ticket,
        sample: usize,
        params: &SamplingParams,
        prompt: Arc<[u32]>,
        cache: KvCache,
        sampler: Sampler,
    ) -> Self {
        Self {
            ticket,
            sample,
            prompt,
            max_tokens: params.max_tokens,
            stop: params.stop.clone(),
            cache,
            sampler,
            ids: Vec::new(),
            logprobs: params.logprobs.then(Vec::new),
            top_logprobs: params.top_logprobs,
            end: None,
            told: Told::default(),
        }
    }

    /// The last token, to be fed.
    pub(crate) fn input(&mut self) -> SequenceInput<'_> {
        SequenceInput { tokens: &self.ids[self.ids.len() - 1..], cache: &mut self.cache, logits: LogitsWanted::Last }
    }

    /// Whether feeding the last token takes a block of memory.
    pub(crate) fn needs_block(&self) -> bool {
        self.cache.needs_block()
    }

    /// Takes the cache away, and returns the tokens that it held.
    pub(crate) fn give_up(&mut self, empty: KvCache) -> Arc<[u32]> {
        self.cache = empty;
        let fed = &self.ids[..self.ids.len() - 1];
        self.prompt.iter().chain(fed).copied().collect()
    }

    /// Goes on with a cache that holds those tokens.
    pub(crate) fn go_on(&mut self, cache: KvCache) {
        self.cache = cache;
    }

    /// [`Sequence::advance`] for each of them, with its part of the logits.
    pub(crate) fn advance_all(sequences: &mut [Self], logits: &mut [f32], engine: &Engine) {
        let logits = logits.par_chunks_exact_mut(engine.model().config().vocab_size);
        sequences.par_iter_mut().zip(logits).with_min_len(4).for_each(|(sequence, logits)| sequence.advance(logits, engine));
    }

    /// Chooses the next token from the logits after the last one.
    pub(crate) fn advance(&mut self, logits: &mut [f32], engine: &Engine) {
        // Before the sampler changes the logits.
        let top = most_likely(logits, self.top_logprobs);
        let choice = match self.sampler.next(logits) {
            Ok(choice) => choice,
            Err(error) => {
                self.end = Some(Ending::Failed(error.into()));
                return;
            }
        };
        self.ids.push(choice.id);
        let mut untold = None;
        if let (Some(logprobs), Some(logprob)) = (&mut self.logprobs, choice.logprob) {
            let told = |(id, logprob): (u32, f64)| Ok(TopLogprob::new(engine.token_text(id)?, logprob));
            match top.into_iter().map(told).collect::<Result<_, janus_data::Error>>() {
                Ok(top) => logprobs.push(TokenLogprob::new(f64::from(logprob)).with_id(choice.id).with_top(top)),
                Err(error) => untold = Some(Ending::Failed(error.into())),
            }
        }
        self.end = if untold.is_some() {
            untold
        } else if engine.end_ids().contains(&choice.id) {
            Some(Ending::EndOfTurn)
        } else {
            match self.met_stop_text(engine.tokenizer()) {
                Err(error) => Some(Ending::Failed(error.into())),
                Ok(true) => Some(Ending::StopText),
                Ok(false) if self.ids.len() >= self.max_tokens || self.prompt.len() + self.ids.len() >= engine.context() => {
                    Some(Ending::Length)
                }
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

    /// The ids that are text.
    fn text_ids(&self) -> &[u32] {
        match self.end {
            Some(Ending::EndOfTurn) => &self.ids[..self.ids.len() - 1],
            _ => &self.ids,
        }
    }

    /// The text, up to a stop text.
    fn text(&self, tokenizer: &Tokenizer) -> Result<String, janus_data::Error> {
        let mut text = tokenizer.decode(self.text_ids())?;
        let first = self.stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
        text.truncate(first.unwrap_or(text.len()));
        Ok(text)
    }

    /// What can be told of the text that was not told yet, with the log-probabilities since then; none if there is nothing.
    pub(crate) fn news(&mut self, engine: &Engine) -> Option<(String, Vec<TokenLogprob>)> {
        let tokenizer = engine.tokenizer();
        let news = if self.ended() {
            // A text that cannot be decoded is told when the sequence is finished.
            let text = self.text(tokenizer).ok()?;
            text.get(self.told.bytes..).map(str::to_string).unwrap_or_default()
        } else {
            let before = tokenizer.decode(&self.ids[self.told.from..self.told.ids]).ok()?;
            let after = tokenizer.decode(&self.ids[self.told.from..]).ok()?;
            // The bytes of a character that is not whole yet.
            if after.ends_with('\u{fffd}') {
                return None;
            }
            self.told.text.push_str(after.get(before.len()..).unwrap_or_default());
            (self.told.from, self.told.ids) = (self.told.ids, self.ids.len());
            let untold = &self.told.text[self.told.bytes..];
            let begun = |stop: &String| (1..stop.len()).rev().find(|&len| stop.get(..len).is_some_and(|begin| untold.ends_with(begin)));
            let held = self.stop.iter().filter_map(begun).max().unwrap_or(0);
            untold[..untold.len() - held].to_string()
        };
        if news.is_empty() && !self.ended() {
            return None;
        }
        self.told.bytes += news.len();
        let logprobs = self.logprobs.as_deref().unwrap_or_default();
        let new_logprobs = logprobs.get(self.told.logprobs..).unwrap_or_default().to_vec();
        self.told.logprobs = logprobs.len();
        (!news.is_empty() || !new_logprobs.is_empty()).then_some((news, new_logprobs))
    }

    /// What was generated.
    pub(crate) fn finish(self, engine: &Engine) -> Result<Generation, Failure> {
        let finish_reason = match self.end {
            Some(Ending::Failed(error)) => return Err(error),
            Some(Ending::EndOfTurn | Ending::StopText) => FinishReason::Stop,
            Some(Ending::Length) | None => FinishReason::Length,
        };
        let text = self.text(engine.tokenizer())?;
        let generation = Generation::new(text).with_finish_reason(finish_reason).with_tokens(self.prompt.len(), self.ids.len());
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
        let ids = |count| most_likely(&[0.0, 2.0, 1.0, 2.0, -1.0], count).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!((ids(0), ids(3), ids(9)), (vec![], vec![1, 3, 2], vec![1, 3, 2, 0, 4]));
        let total: f64 = most_likely(&[0.0, 2.0, 1.0], 3).iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((total - 1.0).abs() < 1e-6);
    }
}
