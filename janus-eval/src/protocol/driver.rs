//! The driver: runs any [`Protocol`] with any judge.

use std::collections::{BTreeMap, HashSet};

use janus_core::{ChatModel, ChatRequest, Generation, Message, ModelError, error_chain};
use janus_data::Journaled;

use super::{JudgeSettings, Judgement, Protocol};
use crate::Result;
use crate::join::unique;
use crate::judge::read::Unreadable;
use crate::judge::{Counts, Estimate, JudgeCall, JudgeClient, NoVerdict, Reply, Retry, TemplateId};

/// The size of the block of seeds that belongs to one call, one seed per attempt.
const ATTEMPT_SEEDS: u64 = 1 << 16;

impl JudgeClient<'_> {
    /// The calls and tokens that judging these cases needs. No call is made.
    ///
    /// # Errors
    /// [`Error::DoubledId`](crate::Error::DoubledId), and those of the protocol's
    /// [`check`](Protocol::check) and [`calls`](Protocol::calls).
    pub fn estimate<P: Protocol>(&self, protocol: &P, cases: &[P::Case]) -> Result<Estimate> {
        let calls = calls(protocol, cases)?.len();
        let pending = self.pending(protocol, cases)?;
        let mut estimate = Estimate { calls, answered: calls - pending.len(), ..Estimate::default() };
        for request in &pending {
            let characters: usize =
                request.messages.iter().map(|message| message.content.chars().count()).sum();
            estimate.prompt_tokens += characters.div_ceil(4) as u64 + 4 * request.messages.len() as u64;
            estimate.completion_tokens += (request.sampling.max_tokens * request.sampling.n) as u64;
        }
        Ok(estimate)
    }

    /// The requests that [`judge`](Self::judge) would send first: one for each call without a result in
    /// the journal. Write them to a batch file, and pass the batch's answers to
    /// [`record`](Self::record).
    ///
    /// # Errors
    /// Those of [`estimate`](Self::estimate).
    pub fn pending<P: Protocol>(&self, protocol: &P, cases: &[P::Case]) -> Result<Vec<ChatRequest>> {
        let calls = calls(protocol, cases)?;
        Ok(calls
            .iter()
            .filter_map(|(_, call)| self.replay(protocol, call).err())
            .map(|open| open.request())
            .collect())
    }

    /// The ids of the calls that have a result in the journal. A batch's output file may hold answers to
    /// them too.
    ///
    /// # Errors
    /// Those of [`estimate`](Self::estimate).
    pub fn answered<P: Protocol>(&self, protocol: &P, cases: &[P::Case]) -> Result<HashSet<String>> {
        let calls = calls(protocol, cases)?.into_iter();
        let answered = calls.filter(|(_, call)| self.replay(protocol, call).is_ok());
        Ok(answered.map(|(_, call)| call.request.id).collect())
    }

    /// Judges cases. A call without a verdict is not an error: its reply has the reason, and the next
    /// run repeats the call. `progress` is called after each finished call, with the number of finished
    /// calls and of all calls.
    ///
    /// # Errors
    /// Those of [`estimate`](Self::estimate).
    pub fn judge<P: Protocol>(
        &self,
        protocol: &P,
        cases: &[P::Case],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Judgement<P::Row>> {
        let (places, calls): (Vec<usize>, Vec<JudgeCall>) = calls(protocol, cases)?.into_iter().unzip();
        let replies = self.replies(protocol, &calls, progress);
        let counts = Counts::of(&replies);
        let mut by_case: Vec<Vec<Reply<P::Reply>>> = cases.iter().map(|_| Vec::new()).collect();
        for (place, reply) in places.into_iter().zip(replies) {
            by_case[place].push(reply);
        }
        let mut prompts: Vec<TemplateId> = Vec::new();
        for call in calls {
            if !prompts.contains(&call.prompt) {
                prompts.push(call.prompt);
            }
        }
        let settings = JudgeSettings {
            judge: self.name().into(),
            prompts,
            sampling: protocol.sampling().clone(),
            system_shown: protocol.shows_system(),
            reference_shown: protocol.shows_reference(),
        };
        let rows = cases.iter().zip(by_case).map(|(case, replies)| protocol.row(case, replies)).collect();
        Ok(Judgement { settings, rows, counts })
    }

    /// Makes calls and parses their answers.
    pub(super) fn replies<P: Protocol>(
        &self,
        protocol: &P,
        calls: &[JudgeCall],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Vec<Reply<P::Reply>> {
        let attempts = self.attempts.unwrap_or(protocol.attempts()).max(1);
        // Open calls by position, so that every wave sends them in the order of the calls.
        let (mut replies, mut open) = (BTreeMap::new(), BTreeMap::new());
        for (place, call) in calls.iter().enumerate() {
            match self.replay(protocol, call) {
                Ok(reply) => {
                    replies.insert(place, reply);
                    progress(replies.len(), calls.len());
                }
                Err(state) => {
                    open.insert(place, Open { tries: 0, ..state });
                }
            }
        }
        while !open.is_empty() {
            let (places, states): (Vec<usize>, Vec<Open<'_>>) = std::mem::take(&mut open).into_iter().unzip();
            let requests: Vec<ChatRequest> = states.iter().map(Open::request).collect();
            let mut states: Vec<Option<Open<'_>>> = states.into_iter().map(Some).collect();
            let mut finish = |place: usize, reply| {
                replies.insert(place, reply);
                progress(replies.len(), calls.len());
            };
            let mut take = |index: usize, answer: Result<Vec<Generation>, ModelError>| {
                let Some(state) = states.get_mut(index).and_then(Option::take) else { return };
                match answer {
                    Ok(generations) => match state.take(protocol, generations.into_iter().next()) {
                        Ok(reply) => finish(places[index], reply),
                        Err(state) if state.tries >= attempts => finish(places[index], state.fail()),
                        Err(state) => {
                            open.insert(places[index], state);
                        }
                    },
                    Err(error) => {
                        finish(places[index], state.fail_with(NoVerdict::Failed(error_chain(&error))))
                    }
                }
            };
            match self.journal {
                Some(journal) => Journaled::new(self.model, journal).generate_each(&requests, &mut take),
                None => self.model.generate_each(&requests, &mut take),
            }
            for (place, state) in places.iter().zip(states) {
                if let Some(state) = state {
                    finish(*place, state.fail_with(NoVerdict::NoAnswer));
                }
            }
        }
        replies.into_values().collect()
    }

    /// Replays a call from the journal. Returns the reply, or the call with its attempts so far if the
    /// journal has no final answer yet.
    #[expect(clippy::result_large_err, reason = "an open call is the other outcome, not an error")]
    fn replay<'c, P: Protocol>(
        &self,
        protocol: &P,
        call: &'c JudgeCall,
    ) -> Result<Reply<P::Reply>, Open<'c>> {
        let mut state = Open::new(call);
        while let Some(generations) =
            self.journal.and_then(|journal| journal.get(self.name(), &state.request()))
        {
            state = match state.take(protocol, generations.into_iter().next()) {
                Ok(reply) => return Ok(reply),
                Err(state) => state,
            };
        }
        Err(state)
    }
}

/// Checks the protocol and the ids, and makes the calls of all cases, each with its case's position.
fn calls<P: Protocol>(protocol: &P, cases: &[P::Case]) -> Result<Vec<(usize, JudgeCall)>> {
    protocol.check()?;
    unique("cases", cases.iter().map(|case| protocol.id(case)))?;
    let mut calls = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        calls.extend(protocol.calls(case)?.into_iter().map(|call| (place, call)));
    }
    Ok(calls)
}

/// A call without a result yet.
struct Open<'c> {
    call: &'c JudgeCall,
    /// Answers that could not be parsed so far, which is the number of the next attempt.
    attempt: u64,
    /// Attempts of this run.
    tries: usize,
    /// The conversation, if it continues after an answer.
    continued: Option<ChatRequest>,
    answer: Option<Generation>,
    why: NoVerdict,
}

impl<'c> Open<'c> {
    fn new(call: &'c JudgeCall) -> Self {
        Self { call, attempt: 0, tries: 0, continued: None, answer: None, why: NoVerdict::NoAnswer }
    }

    /// The next request. Each attempt has its own seed, so that the journal has an entry for each.
    fn request(&self) -> ChatRequest {
        let mut request = self.continued.as_ref().unwrap_or(&self.call.request).clone();
        request.sampling.seed = request.sampling.seed.wrapping_mul(ATTEMPT_SEEDS).wrapping_add(self.attempt);
        if self.attempt > 0 {
            request.id = format!("{}/again-{}", request.id, self.attempt);
        }
        request
    }

    /// Parses an answer.
    #[expect(clippy::result_large_err, reason = "a call that stays open is the other outcome, not an error")]
    fn take<P: Protocol>(
        mut self,
        protocol: &P,
        answer: Option<Generation>,
    ) -> Result<Reply<P::Reply>, Self> {
        let Some(mut answer) = answer else { return Err(self.again(Unreadable::Empty)) };
        if let (Some(_), Some(before)) = (&self.continued, &self.answer) {
            answer.text = format!("{}\n{}", before.text, answer.text);
        }
        match protocol.read(&answer) {
            Ok(verdict) => {
                let unreadable = self.attempt as usize;
                Ok(Reply {
                    verdict: Ok(verdict),
                    answer: Some(answer),
                    unreadable,
                    prompt: self.call.prompt.id.clone(),
                })
            }
            Err(why) => match protocol.retry(&why) {
                Retry::Again => {
                    self.answer = Some(answer);
                    Err(self.again(why))
                }
                Retry::Continue(message) if self.continued.is_none() => {
                    let mut request = self.call.request.clone();
                    request.id = format!("{}/second-try", request.id);
                    request
                        .messages
                        .extend([Message::assistant(answer.text.as_str()), Message::user(message)]);
                    Err(Self { continued: Some(request), answer: Some(answer), why: why.into(), ..self })
                }
                Retry::Continue(_) | Retry::Never => {
                    self.answer = Some(answer);
                    Ok(self.fail_with(why.into()))
                }
            },
        }
    }

    /// The next attempt, after an answer that cannot be parsed.
    fn again(self, why: Unreadable) -> Self {
        Self { attempt: self.attempt + 1, tries: self.tries + 1, continued: None, why: why.into(), ..self }
    }

    /// The reply without a verdict, after the last attempt.
    fn fail<T>(self) -> Reply<T> {
        let (unreadable, prompt) = (self.attempt as usize, self.call.prompt.id.clone());
        Reply { verdict: Err(self.why), answer: self.answer, unreadable, prompt }
    }

    /// The reply without a verdict. If this attempt has an answer, the answer counts as unreadable: it
    /// was final, or its continuation failed.
    fn fail_with<T>(mut self, why: NoVerdict) -> Reply<T> {
        let answered = matches!(why, NoVerdict::Unreadable(_)) || self.continued.is_some();
        self.attempt += u64::from(answered);
        self.why = why;
        self.fail()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use janus_core::SamplingParams;
    use janus_data::CallJournal;

    use super::*;
    use crate::protocol::{ProtocolInfo, Scale};

    /// Answers with the number of the attempt. Fails on the message "fail".
    #[derive(Default)]
    struct Counting {
        sent: RefCell<Vec<String>>,
    }

    impl ChatModel for Counting {
        fn name(&self) -> &str {
            "counting"
        }

        fn generate_each(
            &self,
            requests: &[ChatRequest],
            on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
        ) {
            for (index, request) in requests.iter().enumerate() {
                self.sent.borrow_mut().push(request.id.clone());
                if request.messages[0].content == "fail" {
                    on_answer(
                        index,
                        Err(ModelError::Request { id: request.id.clone(), reason: "no".into() }),
                    );
                    continue;
                }
                let text = (request.sampling.seed % ATTEMPT_SEEDS).to_string();
                let generation = Generation::new(text).with_tokens(1, 1);
                on_answer(index, Ok(vec![generation]));
            }
        }
    }

    /// A protocol whose verdict is a number of at least `least`.
    struct AtLeast {
        least: u64,
        attempts: usize,
        sampling: SamplingParams,
    }

    impl AtLeast {
        fn new(least: u64, attempts: usize) -> Self {
            Self { least, attempts, sampling: SamplingParams::greedy(8) }
        }
    }

    impl Protocol for AtLeast {
        type Case = String;
        type Reply = u64;
        type Row = Vec<Reply<u64>>;

        fn info(&self) -> ProtocolInfo {
            ProtocolInfo::new("at-least", "AtLeast", Scale::WinRate)
        }

        fn sampling(&self) -> &SamplingParams {
            &self.sampling
        }

        fn id<'c>(&self, case: &'c String) -> &'c str {
            case
        }

        fn calls(&self, case: &String) -> Result<Vec<JudgeCall>> {
            let request = ChatRequest::new(case, [Message::user(case)]).with_sampling(self.sampling.clone());
            Ok(vec![JudgeCall { request, prompt: TemplateId { id: "p".into(), fingerprint: String::new() } }])
        }

        fn read(&self, answer: &Generation) -> Result<u64, Unreadable> {
            let number = answer.text.parse().map_err(|_| Unreadable::Other("no number".into()))?;
            if number >= self.least {
                Ok(number)
            } else {
                Err(Unreadable::Other(format!("{number} is too small")))
            }
        }

        fn attempts(&self) -> usize {
            self.attempts
        }

        fn row(&self, _: &String, replies: Vec<Reply<u64>>) -> Vec<Reply<u64>> {
            replies
        }
    }

    fn cases(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| id.to_string()).collect()
    }

    #[test]
    fn unreadable_answers_are_retried_and_a_later_run_continues_the_attempts() {
        let folder = tempfile::tempdir().unwrap();
        let journal = CallJournal::open(folder.path().join("j")).unwrap();
        let (protocol, both) = (AtLeast::new(5, 3), cases(&["a", "fail"]));
        let model = Counting::default();
        let judge = JudgeClient::new(&model).journal(&journal);
        let mut finished = Vec::new();
        let judgement =
            judge.judge(&protocol, &both, &mut |done, calls| finished.push((done, calls))).unwrap();
        let (a, failed) = (&judgement.rows[0][0], &judgement.rows[1][0]);
        assert_eq!(
            (a.verdict.clone(), a.text(), a.unreadable),
            (Err(Unreadable::Other("2 is too small".into()).into()), Some("2"), 3)
        );
        assert_eq!(failed.problem().as_deref(), Some("request fail: no"));
        assert_eq!(*model.sent.borrow(), ["a", "fail", "a/again-1", "a/again-2"]);
        assert_eq!(judgement.counts, Counts { calls: 2, answered: 3, parsed: 0, unreadable: 3, failed: 2 });
        assert_eq!(finished, [(1, 2), (2, 2)], "progress counts calls, not attempts");

        model.sent.borrow_mut().clear();
        let pending = judge.pending(&protocol, &both).unwrap();
        assert_eq!(
            pending.iter().map(|request| request.id.as_str()).collect::<Vec<_>>(),
            ["a/again-3", "fail"]
        );
        let judgement = judge.judge(&protocol, &both, &mut |_, _| ()).unwrap();
        assert_eq!((judgement.rows[0][0].verdict.clone(), judgement.rows[0][0].unreadable), (Ok(5), 5));
        assert_eq!(*model.sent.borrow(), ["a/again-3", "fail", "a/again-4", "a/again-5"]);

        model.sent.borrow_mut().clear();
        assert_eq!(judge.judge(&protocol, &both[..1], &mut |_, _| ()).unwrap().rows[0][0].verdict, Ok(5));
        assert!(model.sent.borrow().is_empty(), "a parsed call is never repeated");
        let estimate = judge.estimate(&protocol, &both).unwrap();
        assert_eq!(
            (estimate.calls, estimate.answered, estimate.prompt_tokens, estimate.completion_tokens),
            (2, 1, 5, 8)
        );
        assert_eq!(estimate.cost(10.0, 100.0), 85e-5);

        // A batch's answers complete the pending calls.
        let pending = judge.pending(&protocol, &both).unwrap();
        let generation = Generation::new("7").with_tokens(1, 1);
        assert_eq!(judge.record(&pending, vec![Ok(vec![generation])]).unwrap(), 1);
        assert!(judge.pending(&protocol, &both).unwrap().is_empty());
    }

    #[test]
    fn judging_works_without_a_journal() {
        let model = Counting::default();
        let judge = JudgeClient::new(&model).attempts(2);
        let judgement = judge.judge(&AtLeast::new(1, 5), &cases(&["a", "b"]), &mut |_, _| ()).unwrap();
        assert_eq!(
            judgement.rows.iter().map(|row| row[0].verdict.clone()).collect::<Vec<_>>(),
            [Ok(1), Ok(1)]
        );
        assert_eq!(model.sent.borrow().len(), 4);
        assert_eq!(judgement.counts.parse_rate(), Some(0.5));
    }
}
