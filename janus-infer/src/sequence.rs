//! One sample of one request, from its first token to its end.

use janus_core::{FinishReason, Generation, SamplingParams, TokenLogprob, TopLogprob};
use janus_data::Tokenizer;

use crate::cache::KvCache;
use crate::elementwise::log_sum_exp;
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
    top_logprobs: usize,
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
            top_logprobs: params.top_logprobs,
            end: None,
        }
    }

    /// The last token, to be fed.
    pub(crate) fn feed(&mut self) -> Feed<'_> {
        Feed { tokens: &self.ids[self.ids.len() - 1..], cache: &mut self.cache, logits: Logits::Last }
    }

    /// Chooses the next token from the logits after the last one.
    pub(crate) fn advance(&mut self, logits: &mut [f32], vocabulary: &Vocabulary, context: usize) {
        // Before the sampler changes the logits.
        let top = most_likely(logits, self.top_logprobs);
        let choice = self.sampler.next(logits);
        self.ids.push(choice.id);
        let mut untold = None;
        if let (Some(logprobs), Some(logprob)) = (&mut self.logprobs, choice.logprob) {
            let told = |(id, logprob): (u32, f64)| Ok(TopLogprob { token: vocabulary.tokenizer.decode(&[id])?, logprob });
            match top.into_iter().map(told).collect() {
                Ok(top) => logprobs.push(TokenLogprob { id: Some(choice.id), logprob, top }),
                Err(error) => untold = Some(Ending::Failed(error)),
            }
        }
        self.end = if untold.is_some() {
            untold
        } else if vocabulary.end_ids.contains(&choice.id) {
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

    /// What was generated.
    pub(crate) fn finish(self, vocabulary: &Vocabulary) -> Result<Generation, janus_data::Error> {
        let completion_tokens = self.ids.len();
        let (finish_reason, text_ids) = match self.end {
            Some(Ending::Failed(error)) => return Err(error),
            Some(Ending::EndOfTurn) => (FinishReason::Stop, &self.ids[..completion_tokens - 1]),
            Some(Ending::StopText) => (FinishReason::Stop, &self.ids[..]),
            Some(Ending::Length) | None => (FinishReason::Length, &self.ids[..]),
        };
        let cut = |mut text: String| {
            let first = self.stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
            text.truncate(first.unwrap_or(text.len()));
            text
        };
        vocabulary.tokenizer.decode(text_ids).map(|text| Generation {
            text: cut(text),
            finish_reason,
            prompt_tokens: self.prompt_tokens,
            completion_tokens,
            logprobs: self.logprobs,
        })
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
