//! Questions, checked answers, and asking again.

use std::collections::BTreeMap;

use janus_core::{ChatModel, ChatRequest, Generation, Message, SamplingParams, derive_seed};
use serde::Serialize;

use super::check::Flaw;
use super::prompt;

/// Questions that are held and asked at a time. A model that answers several at once needs many to choose from; more
/// than this gains nothing.
const AT_A_TIME: usize = 4096;
/// Characters of an unusable answer that are shown to the model again.
const SHOWN: usize = 1000;

/// Makes of an answer what is wanted, or says what is wrong with it.
pub(super) type Check<'a, T> = Box<dyn Fn(&Generation) -> Result<T, Flaw> + 'a>;

/// A question and what makes of its answer what is wanted.
pub(super) struct Question<'a, T> {
    pub(super) id: String,
    pub(super) messages: Vec<Message>,
    pub(super) check: Check<'a, T>,
}

/// What a step asked and got.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct StepTally {
    /// Things asked for.
    pub requests: u64,
    /// Calls on top of it.
    pub retried: u64,
    /// Things that were got.
    pub accepted: u64,
    /// Things that were given up, by the reason of the last answer.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Answers that could not be used, by reason, whether or not a later one could.
    pub flaws: BTreeMap<&'static str, u64>,
    /// Tokens of the prompts, of all calls that were answered.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
}

/// Asks a model the questions of a step.
pub(super) struct Asker<'a> {
    pub(super) model: &'a dyn ChatModel,
    pub(super) sampling: SamplingParams,
    pub(super) seed: u64,
    pub(super) retries: usize,
    pub(super) tally: StepTally,
}

/// A question that is not settled yet.
struct Open<'a, T> {
    index: usize,
    request: ChatRequest,
    check: Question<'a, T>,
}

impl Asker<'_> {
    /// Answers in the order of the questions; `None` for those that were given up. `settled` is called with the number settled so far.
    pub(super) fn ask<'q, T>(
        &mut self,
        count: usize,
        question: impl Fn(usize) -> Question<'q, T>,
        settled: &mut dyn FnMut(usize),
    ) -> Vec<Option<T>> {
        let mut answers: Vec<Option<T>> = (0..count).map(|_| None).collect();
        self.tally.requests += count as u64;
        let mut done = 0;
        for first in (0..count).step_by(AT_A_TIME) {
            let mut open: Vec<Open<'q, T>> = (first..count.min(first + AT_A_TIME)).map(|index| self.open(index, question(index))).collect();
            for round in 0..=self.retries {
                open = self.round(open, round, &mut answers, &mut || {
                    done += 1;
                    settled(done);
                });
                if open.is_empty() {
                    break;
                }
            }
        }
        answers
    }

    fn open<'q, T>(&self, index: usize, question: Question<'q, T>) -> Open<'q, T> {
        let seed = derive_seed(self.seed, &question.id);
        let sampling = SamplingParams { seed, ..self.sampling.clone() };
        let request = ChatRequest::new(question.id.clone(), question.messages.clone()).with_sampling(sampling);
        Open { index, request, check: question }
    }

    /// Asks once; what is given back is to be asked again.
    fn round<'q, T>(
        &mut self,
        open: Vec<Open<'q, T>>,
        round: usize,
        answers: &mut [Option<T>],
        settled: &mut dyn FnMut(),
    ) -> Vec<Open<'q, T>> {
        let requests: Vec<ChatRequest> = open.iter().map(|open| open.request.clone()).collect();
        let mut flaws: Vec<Option<(Flaw, String, bool)>> = open.iter().map(|_| None).collect();
        let tally = &mut self.tally;
        let last = round == self.retries;
        self.model.generate_each(&requests, &mut |index, answer| {
            let (flaw, text, may_help) = match answer {
                Ok(generations) => {
                    let generation = generations.into_iter().next();
                    let Some(generation) = generation else {
                        flaws[index] = Some((Flaw::NoAnswer("there was no answer".into()), String::new(), true));
                        return;
                    };
                    tally.prompt_tokens += generation.prompt_tokens as u64;
                    tally.completion_tokens += generation.completion_tokens as u64;
                    match (open[index].check.check)(&generation) {
                        Ok(value) => {
                            tally.accepted += 1;
                            answers[open[index].index] = Some(value);
                            settled();
                            return;
                        }
                        Err(flaw) => (flaw, generation.text, true),
                    }
                }
                Err(error) => (Flaw::NoAnswer(error.to_string()), String::new(), Flaw::can_be_asked_again(&error)),
            };
            if last || !may_help {
                settled();
            }
            flaws[index] = Some((flaw, text, may_help));
        });
        let mut again = Vec::new();
        for (mut open, flaw) in open.into_iter().zip(flaws) {
            let accepted = answers[open.index].is_some();
            if accepted {
                continue;
            }
            let (flaw, text, may_help) = flaw.unwrap_or_else(|| (Flaw::NoAnswer("there was no answer".into()), String::new(), true));
            *tally.flaws.entry(flaw.key()).or_default() += 1;
            if last || !may_help {
                *tally.rejected.entry(flaw.key()).or_default() += 1;
                continue;
            }
            tally.retried += 1;
            if !matches!(flaw, Flaw::NoAnswer(_)) {
                // Always the first question with the last answer: the conversation does not grow from round to round.
                let shown: String = text.trim().chars().take(SHOWN).collect();
                let correction = [Message::assistant(shown), Message::user(prompt::again(&flaw.to_string()))];
                open.request.messages = open.check.messages.iter().cloned().chain(correction).collect();
            }
            again.push(open);
        }
        again
    }
}
