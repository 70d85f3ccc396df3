//! A rating from 1 to 10 for each turn of a conversation: MT-Bench's single-answer grading (Zheng et
//! al., arXiv 2306.05685).

use std::str::FromStr;

use janus_core::{Generation, SamplingParams};

use super::{Case, JudgedCase, Protocol, ProtocolInfo, Scale};
use crate::judge::read::{Unreadable, rating};
use crate::judge::{JudgeCall, PromptTemplate, Reply, prompt};
use crate::{Error, Result};

/// The prompts for the first and the second turn, without and with reference answers.
#[derive(Debug, Clone, PartialEq)]
pub struct GradePrompts {
    /// First turn: `question`, `answer`.
    pub single: PromptTemplate,
    /// First turn with `ref_answer_1`.
    pub single_reference: PromptTemplate,
    /// Second turn: `question_1`, `answer_1`, `question_2`, `answer_2`.
    pub turns: PromptTemplate,
    /// Second turn with `ref_answer_1` and `ref_answer_2`.
    pub turns_reference: PromptTemplate,
}

impl Default for GradePrompts {
    /// The prompts of this crate.
    fn default() -> Self {
        Self {
            single: prompt::grade(),
            single_reference: prompt::grade_reference(),
            turns: prompt::grade_turns(),
            turns_reference: prompt::grade_turns_reference(),
        }
    }
}

impl FromStr for GradePrompts {
    type Err = Error;

    /// MT-Bench's own prompts, from the text of its `judge_prompts.jsonl`.
    ///
    /// # Errors
    /// [`Error::Prompt`] if one is missing.
    fn from_str(lines: &str) -> Result<Self> {
        let named = |name| PromptTemplate::named(lines, name);
        Ok(Self {
            single: named("single-v1")?,
            single_reference: named("single-math-v1")?,
            turns: named("single-v1-multi-turn")?,
            turns_reference: named("single-math-v1-multi-turn")?,
        })
    }
}

/// Grades the last turn of each case ([`cases`](crate::bench::mt_bench::cases)). The judge sees
/// reference answers if the case has them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MtBench {
    /// The judge's prompts.
    pub prompts: GradePrompts,
    /// The judge's sampling parameters.
    pub sampling: SamplingParams,
}

impl Default for MtBench {
    /// MT-Bench's protocol with this crate's prompts: temperature 0, at most 2,048 tokens.
    fn default() -> Self {
        Self { prompts: GradePrompts::default(), sampling: SamplingParams::greedy(2048) }
    }
}

impl MtBench {
    /// Changes some of the fields and returns the protocol, for use in an expression.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }
}

impl Protocol for MtBench {
    type Case = Case;
    type Reply = f64;
    type Row = JudgedCase;

    fn info(&self) -> ProtocolInfo {
        ProtocolInfo::new("mt-bench", "MT-Bench", Scale::Rating { low: 1.0, high: 10.0 })
    }

    fn check(&self) -> Result<()> {
        let GradePrompts { single, single_reference, turns, turns_reference } = &self.prompts;
        single.check(&["question", "answer"], &[])?;
        single_reference.check(&["question", "answer", "ref_answer_1"], &[])?;
        let two = ["question_1", "question_2", "answer_1", "answer_2"];
        turns.check(&two, &[])?;
        turns_reference.check(&two, &["ref_answer_1", "ref_answer_2"])
    }

    fn sampling(&self) -> &SamplingParams {
        &self.sampling
    }

    fn shows_reference(&self) -> bool {
        true
    }

    fn id<'c>(&self, case: &'c Case) -> &'c str {
        &case.id
    }

    fn calls(&self, case: &Case) -> Result<Vec<JudgeCall>> {
        let prompts = &self.prompts;
        let references: Option<Vec<&str>> = case.turns.iter().map(|turn| turn.reference.as_deref()).collect();
        let reference = |turn: usize| references.as_ref().map_or("", |references| references[turn]);
        let (prompt, slots) = match case.turns.as_slice() {
            [turn] => (
                if references.is_some() { &prompts.single_reference } else { &prompts.single },
                vec![
                    ("question", turn.prompt.as_str()),
                    ("answer", turn.model.as_str()),
                    ("ref_answer_1", reference(0)),
                ],
            ),
            [one, two] => (
                if references.is_some() { &prompts.turns_reference } else { &prompts.turns },
                vec![
                    ("question_1", one.prompt.as_str()),
                    ("question_2", two.prompt.as_str()),
                    ("answer_1", one.model.as_str()),
                    ("answer_2", two.model.as_str()),
                    ("ref_answer_1", reference(0)),
                    ("ref_answer_2", reference(1)),
                ],
            ),
            turns => return Err(case.unfit(turns, "one or two turns")),
        };
        Ok(vec![JudgeCall::new(&case.id, prompt, &slots, &self.sampling)?])
    }

    fn read(&self, answer: &Generation) -> Result<f64, Unreadable> {
        rating(answer.answer()).ok_or(Unreadable::NoRating)
    }

    fn row(&self, case: &Case, replies: Vec<Reply<f64>>) -> JudgedCase {
        JudgedCase::rated(case, &replies)
    }
}
