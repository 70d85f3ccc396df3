//! A conversation to be judged, and the row that it becomes.

use janus_core::TopLogprob;
use serde::{Deserialize, Serialize};

use crate::judge::Reply;
use crate::judge::read::PairLabel;
use crate::{Error, Result};

/// A conversation of one or more turns with a model's answers, alone or beside an opponent's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Names the case; all different.
    pub id: String,
    /// Cases of one question are not independent: they are resampled together.
    pub question: String,
    /// The group of questions that it belongs to; empty if there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// The judged turn, from 1, where turns are judged one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<usize>,
    /// The system message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// What was said, turn by turn.
    pub turns: Vec<Turn>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// What the user said.
    pub prompt: String,
    /// What the model answered.
    pub model: String,
    /// What its opponent answered, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opponent: Option<String>,
    /// A reference answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Turn {
    /// A model's answer to a prompt.
    pub fn new(prompt: impl Into<String>, model: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), model: model.into(), opponent: None, reference: None }
    }

    /// The same beside an opponent's answer.
    pub fn against(self, opponent: impl Into<String>) -> Self {
        Self { opponent: Some(opponent.into()), ..self }
    }

    /// The same with a reference answer.
    pub fn reference(self, reference: impl Into<String>) -> Self {
        Self { reference: Some(reference.into()), ..self }
    }
}

impl Case {
    /// A case that is a question of its own.
    pub fn new(id: impl Into<String>, turns: Vec<Turn>) -> Self {
        let id = id.into();
        Self { question: id.clone(), id, turns, ..Self::default() }
    }

    /// The one turn of a comparison: prompt, model, opponent.
    pub(super) fn one_pair(&self) -> Result<[&str; 3]> {
        match self.turns.as_slice() {
            [Turn { prompt, model, opponent: Some(opponent), .. }] => Ok([prompt, model, opponent]),
            turns => Err(self.unfit(turns, "one turn with the answers of a model and its opponent")),
        }
    }

    pub(super) fn unfit(&self, turns: &[Turn], expected: &'static str) -> Error {
        let with = turns.iter().filter(|turn| turn.opponent.is_some()).count();
        Error::Setting { field: "a case", got: format!("{}: {} turns, {with} with an opponent's answer", self.id, turns.len()), expected }
    }
}

/// A judged case, which can be read by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedCase {
    /// What was judged.
    #[serde(flatten)]
    pub case: Case,
    /// What the verdicts are worth for the model, on the protocol's [`Scale`](super::Scale): a rating, or 0 for a loss to 1 for a win.
    /// Empty without a verdict; several where a verdict weighs more than another.
    pub values: Vec<f64>,
    /// The judge's calls.
    pub calls: Vec<JudgedCall>,
}

/// One call of the judge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgedCall {
    /// Whose answer was shown first, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Side>,
    /// Who won by this call, whatever the order was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<PairOutcome>,
    /// The verdict as it was read: a label, a rating, a preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Id of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What the judge wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The tokens that it found likely, where they are the verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likely: Vec<TopLogprob>,
    /// Why there is no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The judged model.
    Model,
    /// Its opponent.
    Opponent,
}

/// Who won a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairOutcome {
    /// The model.
    Win,
    /// Neither.
    Tie,
    /// Its opponent.
    Loss,
}

impl PairOutcome {
    /// Who won by a label, with this side shown as A.
    pub(crate) fn of_label(label: PairLabel, first: Side) -> Self {
        match (label, first) {
            (PairLabel::Tie, _) => Self::Tie,
            (PairLabel::MuchA | PairLabel::A, Side::Model) | (PairLabel::B | PairLabel::MuchB, Side::Opponent) => Self::Win,
            (PairLabel::B | PairLabel::MuchB, Side::Model) | (PairLabel::MuchA | PairLabel::A, Side::Opponent) => Self::Loss,
        }
    }

    /// Who won by a value from 0 to 1.
    pub(crate) fn of_value(value: f64) -> Self {
        match value.total_cmp(&0.5) {
            std::cmp::Ordering::Greater => Self::Win,
            std::cmp::Ordering::Equal => Self::Tie,
            std::cmp::Ordering::Less => Self::Loss,
        }
    }

    /// 1 for a win, 0.5 for a tie, 0 for a loss.
    pub fn value(self) -> f64 {
        match self {
            Self::Win => 1.0,
            Self::Tie => 0.5,
            Self::Loss => 0.0,
        }
    }
}

impl JudgedCall {
    /// A call with its verdict in words, if it has one.
    pub fn new<T>(reply: &Reply<T>, verdict: impl FnOnce(&T) -> String) -> Self {
        Self {
            verdict: reply.verdict.as_ref().ok().map(verdict),
            prompt: Some(reply.prompt.clone()),
            text: reply.text().map(Into::into),
            problem: reply.problem(),
            ..Self::default()
        }
    }

    /// The same with the side that was shown first and who won.
    pub(super) fn shown(self, first: Side, outcome: Option<PairOutcome>) -> Self {
        Self { first: Some(first), outcome, ..self }
    }
}

impl JudgedCase {
    /// A case whose replies are ratings: its values are those that were read.
    pub fn rated(case: &Case, replies: &[Reply<f64>]) -> Self {
        let values = replies.iter().filter_map(|reply| reply.verdict.as_ref().ok().copied()).collect();
        let calls = replies.iter().map(|reply| JudgedCall::new(reply, f64::to_string)).collect();
        Self { case: case.clone(), values, calls }
    }

    /// Who won, by the mean of the values; `None` without a verdict.
    pub fn outcome(&self) -> Option<PairOutcome> {
        Some(PairOutcome::of_value(crate::stats::mean_in_order(self.values.clone())?))
    }

    /// Id of the prompt of the first call.
    pub(crate) fn prompt(&self) -> String {
        self.calls.first().and_then(|call| call.prompt.clone()).unwrap_or_default()
    }
}
