//! A conversation to judge, and the row with its verdicts.

use janus_core::TopLogprob;
use serde::{Deserialize, Serialize};

use crate::judge::Reply;
use crate::judge::read::PairLabel;
use crate::{Error, Result};

/// A conversation of one or more turns with a model's answers, and optionally an opponent's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The id, unique in a run.
    pub id: String,
    /// The question's id. Cases of one question are not independent, so the bootstrap resamples them
    /// together.
    pub question: String,
    /// The category of the question; empty if there are no categories.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// The judged turn, from 1, if turns are judged separately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<usize>,
    /// The system message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// The turns.
    pub turns: Vec<Turn>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The user's message.
    pub prompt: String,
    /// The model's answer.
    pub model: String,
    /// The opponent's answer, if there is an opponent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opponent: Option<String>,
    /// A reference answer, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Turn {
    /// A model's answer to a prompt.
    pub fn new(prompt: impl Into<String>, model: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), model: model.into(), opponent: None, reference: None }
    }

    /// Adds an opponent's answer.
    pub fn against(self, opponent: impl Into<String>) -> Self {
        Self { opponent: Some(opponent.into()), ..self }
    }

    /// Adds a reference answer.
    pub fn reference(self, reference: impl Into<String>) -> Self {
        Self { reference: Some(reference.into()), ..self }
    }
}

impl Case {
    /// A case whose question is the case itself.
    pub fn new(id: impl Into<String>, turns: Vec<Turn>) -> Self {
        let id = id.into();
        Self { question: id.clone(), id, turns, ..Self::default() }
    }

    /// Prompt, model's answer and opponent's answer of a comparison with a single turn.
    pub(super) fn one_pair(&self) -> Result<[&str; 3]> {
        match self.turns.as_slice() {
            [Turn { prompt, model, opponent: Some(opponent), .. }] => Ok([prompt, model, opponent]),
            turns => Err(self.unfit(turns, "one turn with the answers of a model and its opponent")),
        }
    }

    pub(super) fn unfit(&self, turns: &[Turn], expected: &'static str) -> Error {
        let with = turns.iter().filter(|turn| turn.opponent.is_some()).count();
        Error::Setting {
            field: "a case",
            got: format!("{}: {} turns, {with} with an opponent's answer", self.id, turns.len()),
            expected,
        }
    }
}

/// A judged case: the texts, the verdicts and their values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedCase {
    /// The case.
    #[serde(flatten)]
    pub case: Case,
    /// The values of the verdicts for the model, on the protocol's [`Scale`](super::Scale): a rating, or
    /// 0 for a loss to 1 for a win. Empty without a verdict. A verdict of higher weight has its value
    /// several times.
    pub values: Vec<f64>,
    /// The judge's calls.
    pub calls: Vec<JudgedCall>,
}

/// One call of the judge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgedCall {
    /// Whose answer was shown first, if there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Side>,
    /// Who won by this call, with the order accounted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<PairOutcome>,
    /// The parsed verdict: a label, a rating, a preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Id of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The judge's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The likeliest tokens, if the verdict is computed from them.
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
    /// Who won by a label if `first` was shown as A.
    pub(crate) fn of_label(label: PairLabel, first: Side) -> Self {
        match (label, first) {
            (PairLabel::Tie, _) => Self::Tie,
            (PairLabel::MuchA | PairLabel::A, Side::Model)
            | (PairLabel::B | PairLabel::MuchB, Side::Opponent) => Self::Win,
            (PairLabel::B | PairLabel::MuchB, Side::Model)
            | (PairLabel::MuchA | PairLabel::A, Side::Opponent) => Self::Loss,
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
    /// A call with its verdict as text, if it has one.
    pub fn new<T>(reply: &Reply<T>, verdict: impl FnOnce(&T) -> String) -> Self {
        Self {
            verdict: reply.verdict.as_ref().ok().map(verdict),
            prompt: Some(reply.prompt.clone()),
            text: reply.text().map(Into::into),
            problem: reply.problem(),
            ..Self::default()
        }
    }

    /// Sets the side that was shown first, and who won.
    pub(super) fn shown(self, first: Side, outcome: Option<PairOutcome>) -> Self {
        Self { first: Some(first), outcome, ..self }
    }
}

impl JudgedCase {
    /// A case whose replies are ratings: its values are the ratings.
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
