//! Which of two answers is better, asked in both orders (MT-Bench's pairwise mode, Zheng et al., arXiv 2306.05685).

use janus_core::{ChatRequest, Generation, SamplingParams};
use serde::{Deserialize, Serialize};

use super::prompt::own;
use super::{Asker, Counts, Estimate, PairLabel, PromptTemplate, Reply, TemplateId, pair_label};
use crate::join::unique;
use crate::{Error, Result};

/// A question of a conversation with the answers of two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairTurn<'t> {
    /// What was asked.
    pub question: &'t str,
    /// What the model answered.
    pub model: &'t str,
    /// What its opponent answered.
    pub opponent: &'t str,
    /// A right answer, if there is one to hold them against.
    pub reference: Option<&'t str>,
}

/// A conversation of one or two turns, answered by two models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'t> {
    /// Names the pair; all different.
    pub id: String,
    /// The turns; of two, the second is judged.
    pub turns: Vec<PairTurn<'t>>,
}

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

impl PairPrompts {
    /// The prompts of this crate.
    ///
    /// # Errors
    /// None.
    pub fn own() -> Result<Self> {
        Ok(Self {
            single: own!("pair")?,
            single_reference: own!("pair_reference")?,
            turns: own!("pair_turns")?,
            turns_reference: own!("pair_turns_reference")?,
        })
    }

    /// MT-Bench's own, from its file of prompts.
    ///
    /// # Errors
    /// [`Error::Prompt`] if one is missing.
    pub fn published(lines: &str) -> Result<Self> {
        let named = |name| PromptTemplate::named(lines, name);
        Ok(Self {
            single: named("pair-v2")?,
            single_reference: named("pair-math-v1")?,
            turns: named("pair-v2-multi-turn")?,
            turns_reference: named("pair-math-v1-multi-turn")?,
        })
    }
}

/// How a pairwise judge works.
#[derive(Debug, Clone, PartialEq)]
pub struct PairwiseOptions {
    /// What it is asked.
    pub prompts: PairPrompts,
    /// How it samples.
    pub sampling: SamplingParams,
}

impl PairwiseOptions {
    /// MT-Bench's protocol with our prompts: temperature 0, at most 2,048 tokens.
    ///
    /// # Errors
    /// None.
    pub fn mt_bench() -> Result<Self> {
        Ok(Self { prompts: PairPrompts::own()?, sampling: SamplingParams::greedy(2048) })
    }
}

/// Who won a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairOutcome {
    /// The model, in both orders.
    Win,
    /// Neither, or the orders disagree.
    Tie,
    /// The opponent, in both orders.
    Loss,
}

/// A judged pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The pair's id.
    pub id: String,
    /// Who won; none if an order has no verdict.
    pub outcome: Option<PairOutcome>,
    /// The verdicts as given: with the model shown first, and with the opponent shown first.
    pub labels: [Option<PairLabel>; 2],
    /// What the judge wrote, in the same order.
    pub judgments: [Option<String>; 2],
    /// The id of the prompt that it was asked by.
    pub prompt: String,
    /// Why a verdict is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl PairRow {
    /// The verdicts by who won, whatever the order was.
    fn outcomes(&self) -> Option<[PairOutcome; 2]> {
        let [Some(first), Some(second)] = self.labels else { return None };
        Some([first.outcome(false), second.outcome(true)])
    }
}

/// What a pairwise judge made of two models' answers.
#[derive(Debug, Clone, PartialEq)]
pub struct PairwiseJudgement {
    /// The judge's model.
    pub judge: String,
    /// The prompts that were used.
    pub prompts: Vec<TemplateId>,
    /// The pairs, in their order.
    pub rows: Vec<PairRow>,
    /// How many calls came to what.
    pub counts: Counts,
}

impl PairwiseJudgement {
    /// Wins, ties and losses; pairs without an outcome are in none of them.
    pub fn tally(&self) -> [usize; 3] {
        let count = |outcome| self.rows.iter().filter(|row| row.outcome == Some(outcome)).count();
        [count(PairOutcome::Win), count(PairOutcome::Tie), count(PairOutcome::Loss)]
    }

    /// Pairs with an outcome.
    pub fn n(&self) -> usize {
        self.tally().iter().sum()
    }

    /// (wins + half the ties) / n: MT-Bench's adjusted win rate.
    ///
    /// # Errors
    /// [`Error::Empty`] if no pair has an outcome.
    pub fn half_tie_win(&self) -> Result<f64> {
        let [win, tie, loss] = self.tally();
        let n = win + tie + loss;
        if n == 0 { Err(Error::Empty { what: "a rate over judged pairs" }) } else { Ok((2 * win + tie) as f64 / (2 * n) as f64) }
    }

    /// (wins + ties) / n. A judge that only says which is better does not tell good ties from bad ones, so this is not the paper's
    /// tie+win.
    ///
    /// # Errors
    /// [`Error::Empty`] if no pair has an outcome.
    pub fn tie_win_all(&self) -> Result<f64> {
        let [win, tie, loss] = self.tally();
        let n = win + tie + loss;
        if n == 0 { Err(Error::Empty { what: "a rate over judged pairs" }) } else { Ok((win + tie) as f64 / n as f64) }
    }

    /// The share of pairs whose two verdicts differ; none if no pair has an outcome.
    pub fn flip_rate(&self) -> Option<f64> {
        let outcomes: Vec<[PairOutcome; 2]> = self.rows.iter().filter_map(PairRow::outcomes).collect();
        let flipped = outcomes.iter().filter(|[first, second]| first != second).count();
        (!outcomes.is_empty()).then(|| flipped as f64 / outcomes.len() as f64)
    }

    /// Of the verdicts that are no ties, the share won by the answer shown first: one half for a judge that does not look at the
    /// order. None if all are ties.
    pub fn first_position_share(&self) -> Option<f64> {
        let labels = || self.rows.iter().flat_map(|row| row.labels).flatten();
        let (first, second) = (labels().filter(|l| *l == PairLabel::A).count(), labels().filter(|l| *l == PairLabel::B).count());
        (first + second > 0).then(|| first as f64 / (first + second) as f64)
    }
}

/// Compares the answers of two models, each pair in both orders; a disagreement is a tie.
#[derive(Debug)]
pub struct PairwiseJudge<'a> {
    asker: Asker<'a>,
    options: PairwiseOptions,
}

impl<'a> PairwiseJudge<'a> {
    /// A judge that asks by these options.
    ///
    /// # Errors
    /// [`Error::Prompt`] for a prompt that lacks an answer or has a slot that nothing fills.
    pub fn new(asker: Asker<'a>, options: PairwiseOptions) -> Result<Self> {
        let PairPrompts { single, single_reference, turns, turns_reference } = &options.prompts;
        single.check(&["question", "answer_a", "answer_b"], &[])?;
        single_reference.check(&["question", "answer_a", "answer_b", "ref_answer_1"], &[])?;
        let four = ["answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2", "question_1", "question_2"];
        turns.check(&four, &[])?;
        turns_reference.check(&four, &["ref_answer_1", "ref_answer_2"])?;
        Ok(Self { asker, options })
    }

    /// The calls for these pairs: two each.
    ///
    /// # Errors
    /// [`Error::DoubledId`], [`Error::Setting`] for a pair that has not one or two turns.
    pub fn calls(&self, pairs: &[Pair<'_>]) -> Result<Vec<ChatRequest>> {
        unique("pairs", pairs.iter().map(|pair| pair.id.as_str()))?;
        let mut calls = Vec::with_capacity(2 * pairs.len());
        for pair in pairs {
            for swapped in [false, true] {
                calls.push(self.call(pair, swapped)?);
            }
        }
        Ok(calls)
    }

    /// What judging these pairs will take.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn estimate(&self, pairs: &[Pair<'_>]) -> Result<Estimate> {
        Ok(self.asker.estimate(&self.calls(pairs)?, read))
    }

    /// The calls that the journal has no readable answer to: what goes into a batch file.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn unasked(&self, pairs: &[Pair<'_>]) -> Result<Vec<ChatRequest>> {
        Ok(self.asker.unasked(&self.calls(pairs)?, read))
    }

    /// Judges the pairs.
    ///
    /// # Errors
    /// Those of [`calls`](Self::calls).
    pub fn judge(&self, pairs: &[Pair<'_>]) -> Result<PairwiseJudgement> {
        let calls = self.calls(pairs)?;
        let replies = self.asker.ask(&calls, 1, read);
        let counts = Counts::of(&replies);
        let row = |(pair, replies): (&Pair<'_>, &[Reply<PairLabel>])| {
            let [first, second] = replies else { return None };
            let problem = first.problem.clone().or_else(|| second.problem.clone());
            let (labels, judgments) = ([first.value, second.value], [first.text.clone(), second.text.clone()]);
            let prompt = self.prompt(pair).id().to_string();
            let mut row = PairRow { id: pair.id.clone(), outcome: None, labels, judgments, prompt, problem };
            row.outcome = row.outcomes().map(|[first, second]| if first == second { first } else { PairOutcome::Tie });
            Some(row)
        };
        let rows = pairs.iter().zip(replies.chunks(2)).filter_map(row).collect();
        let mut prompts: Vec<TemplateId> = Vec::new();
        for pair in pairs {
            let version = self.prompt(pair).version();
            if !prompts.contains(&version) {
                prompts.push(version);
            }
        }
        Ok(PairwiseJudgement { judge: self.asker.name().into(), prompts, rows, counts })
    }

    fn prompt(&self, pair: &Pair<'_>) -> &PromptTemplate {
        let prompts = &self.options.prompts;
        match (pair.turns.len(), pair.turns.iter().all(|turn| turn.reference.is_some())) {
            (0 | 1, false) => &prompts.single,
            (0 | 1, true) => &prompts.single_reference,
            (_, false) => &prompts.turns,
            (_, true) => &prompts.turns_reference,
        }
    }

    fn call(&self, pair: &Pair<'_>, swapped: bool) -> Result<ChatRequest> {
        let sides = |turn: &PairTurn<'_>| {
            if swapped { [turn.opponent.to_string(), turn.model.into()] } else { [turn.model.to_string(), turn.opponent.into()] }
        };
        let reference = |turn: &PairTurn<'_>| turn.reference.unwrap_or_default().to_string();
        let values: Vec<(&str, String)> = match pair.turns.as_slice() {
            [turn] => {
                let [a, b] = sides(turn);
                vec![("question", turn.question.into()), ("answer_a", a), ("answer_b", b), ("ref_answer_1", reference(turn))]
            }
            [first, second] => {
                let ([a1, b1], [a2, b2]) = (sides(first), sides(second));
                vec![
                    ("question_1", first.question.into()),
                    ("question_2", second.question.into()),
                    ("answer_a_1", a1),
                    ("answer_b_1", b1),
                    ("answer_a_2", a2),
                    ("answer_b_2", b2),
                    ("ref_answer_1", reference(first)),
                    ("ref_answer_2", reference(second)),
                ]
            }
            other => return Err(Error::Setting { field: "turns of a pair", got: other.len().to_string(), expected: "one or two" }),
        };
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let order = if swapped { "opponent-first" } else { "model-first" };
        let messages = self.prompt(pair).fill(&values)?;
        Ok(ChatRequest::new(format!("{}/{order}", pair.id), messages).with_sampling(self.options.sampling.clone()))
    }
}

/// The verdict of an answer.
fn read(generation: &Generation) -> Result<PairLabel, String> {
    pair_label(&generation.text).ok_or_else(|| "the text has no [[A]], [[B]] or [[C]]".into())
}
