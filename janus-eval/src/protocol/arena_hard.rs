//! One of five labels for a pair of answers, in two games with the sides exchanged: Arena-Hard-Auto v0.1
//! (Li et al., arXiv 2406.11939).

use janus_core::{Generation, SamplingParams};

use super::{Case, JudgedCall, JudgedCase, PairOutcome, Protocol, ProtocolInfo, Scale, Side};
use crate::Result;
use crate::judge::read::{PairLabel, Unreadable, arena_label, arena_labels};
use crate::judge::{JudgeCall, PromptTemplate, Reply, Retry, prompt};

/// Judges battles between a model and a baseline (the opponent), in two games: the baseline is A in game
/// 1, the model is A in game 2. A strong verdict (`A>>B` or `B>>A`) counts three times.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ArenaHard {
    /// The judge's prompt, with the slots `question_1`, `answer_1` and `answer_2`.
    pub prompt: PromptTemplate,
    /// The user's next message if the judge's text has no label.
    pub retry: String,
    /// The judge's sampling parameters.
    pub sampling: SamplingParams,
}

impl Default for ArenaHard {
    /// The protocol of version 0.1 with this crate's prompt: temperature 0, at most 4,096 tokens, one
    /// retry.
    fn default() -> Self {
        let retry = "Go on with your judgment, and end it with one of the verdict labels.".into();
        Self { prompt: prompt::arena(), retry, sampling: SamplingParams::greedy(4096) }
    }
}

impl ArenaHard {
    /// Changes some of the fields and returns the protocol, for use in an expression.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }
}

/// The side that is A in each game.
const GAMES: [Side; 2] = [Side::Opponent, Side::Model];

impl Protocol for ArenaHard {
    type Case = Case;
    type Reply = PairLabel;
    type Row = JudgedCase;

    fn info(&self) -> ProtocolInfo {
        ProtocolInfo::new("arena-hard", "Arena-Hard", Scale::WinRate)
    }

    fn check(&self) -> Result<()> {
        self.prompt.check(&["question_1", "answer_1", "answer_2"], &[])
    }

    fn sampling(&self) -> &SamplingParams {
        &self.sampling
    }

    fn id<'c>(&self, case: &'c Case) -> &'c str {
        &case.id
    }

    fn calls(&self, case: &Case) -> Result<Vec<JudgeCall>> {
        let [question, model, baseline] = case.one_pair()?;
        let call = |(game, first): (usize, Side)| {
            let [a, b] = if first == Side::Model { [model, baseline] } else { [baseline, model] };
            let slots = [("question_1", question), ("answer_1", a), ("answer_2", b)];
            JudgeCall::new(format!("{}/game-{}", case.id, game + 1), &self.prompt, &slots, &self.sampling)
        };
        GAMES.into_iter().enumerate().map(call).collect()
    }

    fn read(&self, answer: &Generation) -> Result<PairLabel, Unreadable> {
        let found = || arena_labels(answer.answer()).into_iter().map(String::from).collect::<Vec<_>>();
        arena_label(answer.answer()).ok_or_else(|| match found() {
            none if none.is_empty() => Unreadable::NoLabel,
            found => Unreadable::Labels { found },
        })
    }

    fn retry(&self, why: &Unreadable) -> Retry {
        match why {
            Unreadable::NoLabel => Retry::Continue(self.retry.clone()),
            _ => Retry::Never,
        }
    }

    fn row(&self, case: &Case, replies: Vec<Reply<PairLabel>>) -> JudgedCase {
        let (mut values, mut calls) = (Vec::new(), Vec::new());
        for (reply, first) in replies.iter().zip(GAMES) {
            let label = reply.verdict.as_ref().ok().copied();
            let outcome = label.map(|label| PairOutcome::of_label(label, first));
            let weight = if matches!(label, Some(PairLabel::MuchA | PairLabel::MuchB)) { 3 } else { 1 };
            values
                .extend(outcome.into_iter().flat_map(|outcome| std::iter::repeat_n(outcome.value(), weight)));
            calls.push(JudgedCall::new(reply, |label| label.as_arena().into()).shown(first, outcome));
        }
        JudgedCase { case: case.clone(), values, calls }
    }
}
