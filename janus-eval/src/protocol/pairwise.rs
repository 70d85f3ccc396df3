//! Which of two answers is better, judged in both orders (MT-Bench's pairwise mode, Zheng et al., arXiv
//! 2306.05685).

use std::str::FromStr;

use janus_core::{BenchRecord, Generation, SamplingParams};

use super::{Case, JudgedCall, JudgedCase, PairOutcome, Protocol, ProtocolInfo, Scale, Side, Turn};
use crate::join::{Missing, Response, join};
use crate::judge::read::{PairLabel, Unreadable, pair_label};
use crate::judge::{JudgeCall, PromptTemplate, Reply, prompt};
use crate::{Error, Result};

/// The prompts for conversations of one and of two turns, without and with reference answers.
#[derive(Debug, Clone, PartialEq)]
pub struct PairPrompts {
    /// One turn: `question`, `answer_a`, `answer_b`.
    pub single: PromptTemplate,
    /// One turn with `ref_answer_1`.
    pub single_reference: PromptTemplate,
    /// Two turns: `question_1`, `answer_a_1`, … `answer_b_2`.
    pub turns: PromptTemplate,
    /// Two turns with `ref_answer_1` and `ref_answer_2`.
    pub turns_reference: PromptTemplate,
}

impl Default for PairPrompts {
    /// The prompts of this crate.
    fn default() -> Self {
        Self {
            single: prompt::pair(),
            single_reference: prompt::pair_reference(),
            turns: prompt::pair_turns(),
            turns_reference: prompt::pair_turns_reference(),
        }
    }
}

impl FromStr for PairPrompts {
    type Err = Error;

    /// MT-Bench's own prompts, from the text of its `judge_prompts.jsonl`.
    ///
    /// # Errors
    /// [`Error::Prompt`] if one is missing.
    fn from_str(lines: &str) -> Result<Self> {
        let named = |name| PromptTemplate::named(lines, name);
        Ok(Self {
            single: named("pair-v2")?,
            single_reference: named("pair-math-v1")?,
            turns: named("pair-v2-multi-turn")?,
            turns_reference: named("pair-math-v1-multi-turn")?,
        })
    }
}

/// Compares the answers of two models. Each case is judged in both orders, and a disagreement is a tie.
/// In a conversation of two turns the second is judged. The default is for pairs of answers to a bench's
/// records ([`bench_pairs`]).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pairwise {
    /// The judge's prompts.
    pub prompts: PairPrompts,
    /// The judge's sampling parameters.
    pub sampling: SamplingParams,
    /// Whether the judge sees the system message, before the first prompt.
    pub show_system: bool,
    /// Whether the judge sees the reference answers that cases have.
    pub show_reference: bool,
    mt_bench: bool,
}

impl Default for Pairwise {
    /// MT-Bench's protocol with this crate's prompts: temperature 0, at most 2,048 tokens, reference
    /// answers shown.
    fn default() -> Self {
        Self {
            prompts: PairPrompts::default(),
            sampling: SamplingParams::greedy(2048),
            show_system: false,
            show_reference: true,
            mt_bench: false,
        }
    }
}

impl Pairwise {
    /// Changes some of the fields and returns the protocol, for use in an expression.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    /// The protocol for MT-Bench's pairs ([`cases`](crate::bench::mt_bench::cases)).
    pub fn mt_bench() -> Self {
        Self { mt_bench: true, ..Self::default() }
    }

    /// The case as the judge sees it.
    fn seen(&self, case: &Case) -> Case {
        let mut seen = case.clone();
        if !self.show_reference {
            seen.turns.iter_mut().for_each(|turn| turn.reference = None);
        }
        seen
    }

    fn prompt(&self, case: &Case) -> &PromptTemplate {
        let prompts = &self.prompts;
        match (case.turns.len(), case.turns.iter().all(|turn| turn.reference.is_some())) {
            (0 | 1, false) => &prompts.single,
            (0 | 1, true) => &prompts.single_reference,
            (_, false) => &prompts.turns,
            (_, true) => &prompts.turns_reference,
        }
    }

    fn call(&self, case: &Case, first: Side) -> Result<JudgeCall> {
        let question = |turn: &Turn, place: usize| match place {
            0 if self.show_system && !case.system.is_empty() => format!("{}\n{}", case.system, turn.prompt),
            _ => turn.prompt.clone(),
        };
        let sides = |turn: &Turn| -> Option<[String; 2]> {
            let (model, opponent) = (turn.model.clone(), turn.opponent.clone()?);
            Some(if first == Side::Model { [model, opponent] } else { [opponent, model] })
        };
        let reference = |turn: &Turn| turn.reference.clone().unwrap_or_default();
        let slots = match case.turns.as_slice() {
            [turn] => sides(turn).map(|[a, b]| {
                vec![
                    ("question", question(turn, 0)),
                    ("answer_a", a),
                    ("answer_b", b),
                    ("ref_answer_1", reference(turn)),
                ]
            }),
            [one, two] => sides(one).zip(sides(two)).map(|([a1, b1], [a2, b2])| {
                vec![
                    ("question_1", question(one, 0)),
                    ("question_2", question(two, 1)),
                    ("answer_a_1", a1),
                    ("answer_b_1", b1),
                    ("answer_a_2", a2),
                    ("answer_b_2", b2),
                    ("ref_answer_1", reference(one)),
                    ("ref_answer_2", reference(two)),
                ]
            }),
            _ => None,
        };
        let slots = slots.ok_or_else(|| {
            case.unfit(&case.turns, "one or two turns, each with the answers of a model and its opponent")
        })?;
        let slots: Vec<(&str, &str)> = slots.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let order = if first == Side::Model { "model-first" } else { "opponent-first" };
        JudgeCall::new(format!("{}/{order}", case.id), self.prompt(case), &slots, &self.sampling)
    }
}

impl Protocol for Pairwise {
    type Case = Case;
    type Reply = PairLabel;
    type Row = JudgedCase;

    fn info(&self) -> ProtocolInfo {
        let (name, title) =
            if self.mt_bench { ("mt-bench-pairs", "MT-Bench pairs") } else { ("pairwise", "Pairs") };
        ProtocolInfo::new(name, title, Scale::WinRate)
    }

    fn check(&self) -> Result<()> {
        let PairPrompts { single, single_reference, turns, turns_reference } = &self.prompts;
        single.check(&["question", "answer_a", "answer_b"], &[])?;
        single_reference.check(&["question", "answer_a", "answer_b", "ref_answer_1"], &[])?;
        let four = ["answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2", "question_1", "question_2"];
        turns.check(&four, &[])?;
        turns_reference.check(&four, &["ref_answer_1", "ref_answer_2"])
    }

    fn sampling(&self) -> &SamplingParams {
        &self.sampling
    }

    fn shows_system(&self) -> bool {
        self.show_system
    }

    fn shows_reference(&self) -> bool {
        self.show_reference
    }

    fn id<'c>(&self, case: &'c Case) -> &'c str {
        &case.id
    }

    fn calls(&self, case: &Case) -> Result<Vec<JudgeCall>> {
        let seen = self.seen(case);
        [Side::Model, Side::Opponent].into_iter().map(|first| self.call(&seen, first)).collect()
    }

    fn read(&self, answer: &Generation) -> Result<PairLabel, Unreadable> {
        pair_label(answer.answer()).ok_or(Unreadable::NoPairLabel)
    }

    fn row(&self, case: &Case, replies: Vec<Reply<PairLabel>>) -> JudgedCase {
        let call = |(reply, first): (&Reply<PairLabel>, Side)| {
            let outcome = reply.verdict.as_ref().ok().map(|label| PairOutcome::of_label(*label, first));
            JudgedCall::new(reply, |label| label.as_str().into()).shown(first, outcome)
        };
        let calls: Vec<JudgedCall> = replies.iter().zip([Side::Model, Side::Opponent]).map(call).collect();
        let values = match calls.as_slice() {
            [JudgedCall { outcome: Some(first), .. }, JudgedCall { outcome: Some(second), .. }] => {
                vec![if first == second { first.value() } else { PairOutcome::Tie.value() }]
            }
            _ => Vec::new(),
        };
        JudgedCase { case: self.seen(case), values, calls }
    }
}

/// Pairs of two models' responses to a bench's records, and the ids of the records without a response of
/// either model. Records with the same prompt are one question, so the bootstrap resamples them
/// together.
///
/// # Errors
/// Those of [`join`].
pub fn bench_pairs(
    records: &[BenchRecord],
    model: &[Response],
    opponent: &[Response],
) -> Result<(Vec<Case>, Missing)> {
    let (model, opponent) = (join(records, model)?, join(records, opponent)?);
    let rows = || model.rows.iter().zip(&opponent.rows);
    let case = |(model, opponent): (&crate::join::JoinedRow<'_>, &crate::join::JoinedRow<'_>)| {
        let record = model.record;
        let turn = Turn::new(&record.prompt, model.response?)
            .against(opponent.response?)
            .reference(&record.reference_answer);
        let (question, category, system) =
            (record.prompt.clone(), record.source.clone(), record.system.clone());
        Some(Case { question, category, system, ..Case::new(&model.id, vec![turn]) })
    };
    let missing = rows().filter(|pair| case(*pair).is_none()).map(|(model, _)| model.id.as_str()).collect();
    Ok((rows().filter_map(case).collect(), missing))
}
