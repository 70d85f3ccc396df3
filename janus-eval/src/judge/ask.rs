//! Asks a judge, and asks again what could not be read.

use janus_core::{ChatModel, ChatRequest, Generation, ModelError};
use janus_data::{CallJournal, Journaled};
use serde::{Deserialize, Serialize};

/// A judge's model with its journal.
///
/// Every answer is written to the journal before it is read, the unreadable ones too: they are evidence. An
/// answer that cannot be read is asked again with the next seed, at most [`attempts`](Self::attempts) times in this
/// run; whoever runs again asks on from there. An error of the model is not asked again in the same run: a
/// model that is worth it tries by itself.
pub struct Asker<'a> {
    model: &'a dyn ChatModel,
    journal: Option<&'a CallJournal>,
    attempts: Option<usize>,
    on_call: Option<&'a dyn Fn()>,
}

impl std::fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("model", &self.model.name()).field("journal", &self.journal.is_some()).finish_non_exhaustive()
    }
}

/// What became of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<T> {
    /// What was read; none if no answer could be.
    pub value: Option<T>,
    /// The last answer's text.
    pub text: Option<String>,
    /// Answers that could not be read.
    pub unreadable: usize,
    /// Why there is no value.
    pub problem: Option<String>,
}

/// How many calls came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls to be made.
    pub calls: usize,
    /// Answers to them, the unreadable ones included.
    pub answered: usize,
    /// Calls whose answer was read.
    pub parsed: usize,
    /// Answers that could not be read.
    pub unreadable: usize,
    /// Calls without a readable answer.
    pub failed: usize,
}

impl Counts {
    /// What these replies came to.
    pub fn of<'r, T: 'r>(replies: impl IntoIterator<Item = &'r Reply<T>>) -> Self {
        let mut counts = Self::default();
        for reply in replies {
            let parsed = usize::from(reply.value.is_some());
            counts.calls += 1;
            counts.parsed += parsed;
            counts.failed += 1 - parsed;
            counts.unreadable += reply.unreadable;
            counts.answered += parsed + reply.unreadable;
        }
        counts
    }

    /// The share of answers that could be read; none without an answer.
    pub fn parse_rate(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.parsed as f64 / self.answered as f64)
    }
}

/// What is about to be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Calls in all.
    pub calls: usize,
    /// Calls to which the journal holds a readable answer.
    pub answered: usize,
    /// Tokens of the prompts of the others, reckoned at four characters a token.
    pub prompt_tokens: u64,
    /// Tokens that they may generate at the most.
    pub completion_tokens: u64,
}

/// Seeds of a call's attempts lie in a block of this size.
const ATTEMPT_SEEDS: u64 = 1 << 16;

impl<'a> Asker<'a> {
    /// Asks this model, with no journal.
    pub fn new(model: &'a dyn ChatModel) -> Self {
        Self { model, journal: None, attempts: None, on_call: None }
    }

    /// Keeps the answers in a journal, and takes them from there.
    pub fn journal(mut self, journal: &'a CallJournal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Asks for each answer so often in this run at the most, in place of what the judge's protocol says; at least once.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = Some(attempts.max(1));
        self
    }

    /// Calls this for each answer that comes, from the model or the journal.
    pub fn on_call(mut self, on_call: &'a dyn Fn()) -> Self {
        self.on_call = Some(on_call);
        self
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.model.name()
    }

    /// What the calls will take; `read` is that of [`ask`](Self::ask).
    pub fn estimate<T>(&self, calls: &[ChatRequest], read: impl Fn(&Generation) -> Result<T, String>) -> Estimate {
        let open = self.unasked(calls, read);
        let mut estimate = Estimate { calls: calls.len(), answered: calls.len() - open.len(), ..Estimate::default() };
        for call in &open {
            let characters: usize = call.messages.iter().map(|message| message.content.chars().count()).sum();
            estimate.prompt_tokens += characters.div_ceil(4) as u64 + 4 * call.messages.len() as u64;
            estimate.completion_tokens += (call.sampling.max_tokens * call.sampling.n) as u64;
        }
        estimate
    }

    /// The requests that [`ask`](Self::ask) would send first: what a batch file holds.
    pub fn unasked<T>(&self, calls: &[ChatRequest], read: impl Fn(&Generation) -> Result<T, String>) -> Vec<ChatRequest> {
        calls.iter().filter_map(|call| self.state(call, &read).err().map(|open| at_attempt(call, open.attempt))).collect()
    }

    /// What the journal says of each call, if an answer there can be read.
    pub(super) fn known<T>(&self, calls: &[ChatRequest], read: impl Fn(&Generation) -> Result<T, String>) -> Vec<Option<T>> {
        calls.iter().map(|call| self.state(call, &read).ok().and_then(|reply| reply.value)).collect()
    }

    /// Asks every call and reads its answer; `read` says why an answer cannot be read. `attempts` is how often the
    /// judge's protocol asks for an answer in a run.
    pub fn ask<T>(&self, calls: &[ChatRequest], attempts: usize, read: impl Fn(&Generation) -> Result<T, String>) -> Vec<Reply<T>> {
        let mut replies: Vec<Option<Reply<T>>> = calls.iter().map(|_| None).collect();
        let mut open: Vec<(usize, Open)> = Vec::new();
        let done = || self.on_call.into_iter().for_each(|on_call| on_call());
        for (index, call) in calls.iter().enumerate() {
            match self.state(call, &read) {
                Ok(reply) => {
                    replies[index] = Some(reply);
                    done();
                }
                Err(state) => open.push((index, state)),
            }
        }
        for _ in 0..self.attempts.unwrap_or(attempts).max(1) {
            let requests: Vec<ChatRequest> = open.iter().map(|(index, state)| at_attempt(&calls[*index], state.attempt)).collect();
            let mut answers: Vec<Option<Result<Vec<Generation>, ModelError>>> = requests.iter().map(|_| None).collect();
            let mut keep = |place: usize, answer| {
                answers[place] = Some(answer);
                done();
            };
            match self.journal {
                Some(journal) => Journaled::new(self.model, journal).generate_each(&requests, &mut keep),
                None => self.model.generate_each(&requests, &mut keep),
            }
            let asked = std::mem::take(&mut open);
            for ((index, mut state), answer) in asked.into_iter().zip(answers) {
                match answer {
                    Some(Ok(generations)) => match state.take(generations.first(), &read) {
                        Ok(reply) => replies[index] = Some(reply),
                        Err(state) => open.push((index, state)),
                    },
                    Some(Err(error)) => {
                        state.problem = Some(crate::score::with_sources(&error));
                        replies[index] = Some(state.fail());
                    }
                    None => {
                        state.problem = Some("the model gave no answer".into());
                        replies[index] = Some(state.fail());
                    }
                }
            }
            if open.is_empty() {
                break;
            }
        }
        open.into_iter().for_each(|(index, state)| replies[index] = Some(state.fail()));
        replies.into_iter().map(|reply| reply.unwrap_or_else(|| Open::default().fail())).collect()
    }

    /// What the journal says of a call: read, or still open.
    fn state<T>(&self, call: &ChatRequest, read: &impl Fn(&Generation) -> Result<T, String>) -> Result<Reply<T>, Open> {
        let mut state = Open::default();
        while let Some(generations) = self.recorded(&at_attempt(call, state.attempt)) {
            match state.take(generations.first(), read) {
                Ok(reply) => return Ok(reply),
                Err(next) => state = next,
            }
        }
        Err(state)
    }

    fn recorded(&self, request: &ChatRequest) -> Option<Vec<Generation>> {
        self.journal?.get(self.model.name(), request)
    }
}

/// The request of an attempt; another seed makes it another question to the journal.
fn at_attempt(call: &ChatRequest, attempt: u64) -> ChatRequest {
    let mut request = call.clone();
    request.sampling.seed = call.sampling.seed.wrapping_mul(ATTEMPT_SEEDS).wrapping_add(attempt);
    if attempt > 0 {
        request.id = format!("{}/again-{attempt}", call.id);
    }
    request
}

/// A call without a readable answer so far.
#[derive(Default)]
struct Open {
    attempt: u64,
    text: Option<String>,
    problem: Option<String>,
}

impl Open {
    /// Reads an answer.
    fn take<T>(mut self, answer: Option<&Generation>, read: &impl Fn(&Generation) -> Result<T, String>) -> Result<Reply<T>, Self> {
        let found = answer.map_or_else(|| Err("the answer is empty".to_string()), read);
        self.text = answer.map(|generation| generation.text.clone());
        match found {
            Ok(value) => Ok(Reply { value: Some(value), text: self.text, unreadable: self.attempt as usize, problem: None }),
            Err(problem) => {
                self.attempt += 1;
                self.problem = Some(problem);
                Err(self)
            }
        }
    }

    fn fail<T>(self) -> Reply<T> {
        Reply { value: None, text: self.text, unreadable: self.attempt as usize, problem: self.problem }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use janus_core::{Message, SamplingParams};

    use super::*;

    /// Answers with a number that grows with each call; fails where the text says so.
    #[derive(Default)]
    struct Counting {
        asked: RefCell<Vec<String>>,
    }

    impl ChatModel for Counting {
        fn name(&self) -> &str {
            "counting"
        }

        fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
            for (index, request) in requests.iter().enumerate() {
                self.asked.borrow_mut().push(request.id.clone());
                if request.messages[0].content == "fail" {
                    on_answer(index, Err(ModelError::Request { id: request.id.clone(), reason: "no".into() }));
                    continue;
                }
                let text = (request.sampling.seed % ATTEMPT_SEEDS).to_string();
                let generation = Generation::new(text).with_tokens(1, 1);
                on_answer(index, Ok(vec![generation]));
            }
        }
    }

    fn call(id: &str) -> ChatRequest {
        ChatRequest::new(id, [Message::user(id)]).with_sampling(SamplingParams::greedy(8))
    }

    /// Reads answers from this one on.
    fn from(least: u64) -> impl Fn(&Generation) -> Result<u64, String> {
        move |generation| {
            let number = generation.text.parse().map_err(|_| "no number".to_string())?;
            if number >= least { Ok(number) } else { Err(format!("{number} is too small")) }
        }
    }

    #[test]
    fn the_unreadable_is_asked_again_and_a_later_run_asks_on() {
        let folder = tempfile::tempdir().unwrap();
        let journal = CallJournal::open(folder.path().join("j")).unwrap();
        let calls = [call("a"), call("fail")];
        let model = Counting::default();
        let asker = Asker::new(&model).journal(&journal);
        let replies = asker.ask(&calls, 3, from(5));
        assert_eq!(replies[0], Reply { value: None, text: Some("2".into()), unreadable: 3, problem: Some("2 is too small".into()) });
        assert_eq!(replies[1].problem.as_deref(), Some("request fail: no"));
        assert_eq!(*model.asked.borrow(), ["a", "fail", "a/again-1", "a/again-2"]);
        assert_eq!(Counts::of(&replies), Counts { calls: 2, answered: 3, parsed: 0, unreadable: 3, failed: 2 });

        model.asked.borrow_mut().clear();
        assert_eq!(asker.unasked(&calls, from(5)).iter().map(|request| request.id.as_str()).collect::<Vec<_>>(), ["a/again-3", "fail"]);
        let replies = asker.ask(&calls, 3, from(5));
        assert_eq!((replies[0].value, replies[0].unreadable), (Some(5), 5));
        assert_eq!(*model.asked.borrow(), ["a/again-3", "fail", "a/again-4", "a/again-5"]);

        model.asked.borrow_mut().clear();
        assert_eq!(asker.ask(&calls[..1], 3, from(5))[0].value, Some(5));
        assert!(model.asked.borrow().is_empty(), "what was read is never asked again");
        let estimate = asker.estimate(&calls, from(5));
        assert_eq!((estimate.calls, estimate.answered, estimate.prompt_tokens, estimate.completion_tokens), (2, 1, 5, 8));
    }

    #[test]
    fn without_a_journal_it_asks_all_the_same() {
        let model = Counting::default();
        let counted = std::cell::Cell::new(0);
        let on_call = || counted.set(counted.get() + 1);
        let replies = Asker::new(&model).attempts(2).on_call(&on_call).ask(&[call("a"), call("b")], 5, from(1));
        assert_eq!(replies.iter().map(|reply| reply.value).collect::<Vec<_>>(), [Some(1), Some(1)]);
        assert_eq!(model.asked.borrow().len(), 4);
        assert_eq!(Counts::of(&replies).parse_rate(), Some(0.5));
    }
}
