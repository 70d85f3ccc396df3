//! Sends the requests of a step, checks the answers, and retries.

use std::collections::BTreeMap;

use janus_core::{ChatModel, ChatRequest, Generation, Message, SamplingParams, derive_seed};
use serde::Serialize;

use super::check::Flaw;
use super::prompt;

/// Requests that are held in memory and sent together. A model that answers several at once needs many to
/// batch; more than this gains nothing.
const BATCH: usize = 4096;
/// Characters of an unusable answer that a correction shows to the model.
const SHOWN_CHARACTERS: usize = 1000;

/// Reads an answer, or returns what is wrong with it.
pub(super) type Check<'a, T> = Box<dyn Fn(&Generation) -> Result<T, Flaw> + 'a>;

/// The messages of a request, and how its answer is read.
pub(super) struct Item<'a, T> {
    pub(super) id: String,
    pub(super) messages: Vec<Message>,
    pub(super) check: Check<'a, T>,
}

/// Counts of the requests and answers of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct StepTally {
    /// Items requested.
    pub requests: u64,
    /// Further calls, after unusable answers.
    pub retried: u64,
    /// Items accepted.
    pub accepted: u64,
    /// Items rejected after the last retry, by the flaw of the last answer.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Unusable answers by flaw, those replaced by a later retry included.
    pub flaws: BTreeMap<&'static str, u64>,
    /// Prompt tokens of all answered calls.
    pub prompt_tokens: u64,
    /// Completion tokens of all answered calls.
    pub completion_tokens: u64,
}

/// Sends the requests of a step to a model.
pub(super) struct Requester<'a> {
    pub(super) model: &'a dyn ChatModel,
    pub(super) sampling: SamplingParams,
    pub(super) seed: u64,
    pub(super) retries: usize,
    pub(super) tally: StepTally,
}

/// An item without an accepted answer so far.
struct Pending<'a, T> {
    index: usize,
    request: ChatRequest,
    item: Item<'a, T>,
}

impl Requester<'_> {
    /// Requests every item and returns the results in order; `None` for a rejected item. `on_finished` is
    /// called with the number of items finished so far.
    pub(super) fn request<'q, T>(
        &mut self,
        count: usize,
        item: impl Fn(usize) -> Item<'q, T>,
        on_finished: &mut dyn FnMut(usize),
    ) -> Vec<Option<T>> {
        let mut answers: Vec<Option<T>> = (0..count).map(|_| None).collect();
        self.tally.requests += count as u64;
        let mut done = 0;
        for first in (0..count).step_by(BATCH) {
            let mut pending: Vec<Pending<'q, T>> =
                (first..count.min(first + BATCH)).map(|index| self.pending(index, item(index))).collect();
            for round in 0..=self.retries {
                pending = self.round(pending, round, &mut answers, &mut || {
                    done += 1;
                    on_finished(done);
                });
                if pending.is_empty() {
                    break;
                }
            }
        }
        answers
    }

    fn pending<'q, T>(&self, index: usize, item: Item<'q, T>) -> Pending<'q, T> {
        let seed = derive_seed(self.seed, &item.id);
        let sampling = SamplingParams { seed, ..self.sampling.clone() };
        let request = ChatRequest::new(item.id.clone(), item.messages.clone()).with_sampling(sampling);
        Pending { index, request, item }
    }

    /// Sends every pending item once; returns those to retry.
    fn round<'q, T>(
        &mut self,
        pending: Vec<Pending<'q, T>>,
        round: usize,
        answers: &mut [Option<T>],
        on_finished: &mut dyn FnMut(),
    ) -> Vec<Pending<'q, T>> {
        let requests: Vec<ChatRequest> = pending.iter().map(|pending| pending.request.clone()).collect();
        let mut flaws: Vec<Option<(Flaw, String, bool)>> = pending.iter().map(|_| None).collect();
        let tally = &mut self.tally;
        let last = round == self.retries;
        self.model.generate_each(&requests, &mut |index, answer| {
            let (flaw, text, retryable) = match answer {
                Ok(generations) => {
                    let generation = generations.into_iter().next();
                    let Some(generation) = generation else {
                        flaws[index] =
                            Some((Flaw::NoAnswer("there was no answer".into()), String::new(), true));
                        return;
                    };
                    tally.prompt_tokens += generation.prompt_tokens as u64;
                    tally.completion_tokens += generation.completion_tokens as u64;
                    match (pending[index].item.check)(&generation) {
                        Ok(value) => {
                            tally.accepted += 1;
                            answers[pending[index].index] = Some(value);
                            on_finished();
                            return;
                        }
                        Err(flaw) => (flaw, generation.text, true),
                    }
                }
                Err(error) => (Flaw::NoAnswer(error.to_string()), String::new(), Flaw::is_retryable(&error)),
            };
            if last || !retryable {
                on_finished();
            }
            flaws[index] = Some((flaw, text, retryable));
        });
        let mut again = Vec::new();
        for (mut pending, flaw) in pending.into_iter().zip(flaws) {
            let accepted = answers[pending.index].is_some();
            if accepted {
                continue;
            }
            let (flaw, text, retryable) =
                flaw.unwrap_or_else(|| (Flaw::NoAnswer("there was no answer".into()), String::new(), true));
            *tally.flaws.entry(flaw.key()).or_default() += 1;
            if last || !retryable {
                *tally.rejected.entry(flaw.key()).or_default() += 1;
                continue;
            }
            tally.retried += 1;
            if !matches!(flaw, Flaw::NoAnswer(_)) {
                // Always the original messages and the last answer, so that the conversation does not grow
                // from round to round.
                let shown: String = text.trim().chars().take(SHOWN_CHARACTERS).collect();
                let correction = [Message::assistant(shown), Message::user(prompt::again(&flaw.to_string()))];
                pending.request.messages = pending.item.messages.iter().cloned().chain(correction).collect();
            }
            again.push(pending);
        }
        again
    }
}
