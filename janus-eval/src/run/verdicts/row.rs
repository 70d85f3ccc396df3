//! A judged row of any protocol: what was said, what the judge said of it, and what that is worth.

use serde::{Deserialize, Serialize};

use crate::judge::{ArenaLabel, ArenaRow, GradeRow, LogprobRow, PairLabel, PairOutcome, PairRow};

/// A judged row, which can be read by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    /// Names the row; all different.
    pub id: String,
    /// What rows are not independent within: they are resampled together.
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
    pub turns: Vec<VerdictTurn>,
    /// What the verdicts are worth for the model: a grade; or, against an opponent, 0 for a loss to 1 for a win. None if there is
    /// no verdict, several where a verdict weighs more than another.
    pub values: Vec<f64>,
    /// The judge's calls.
    pub calls: Vec<VerdictCall>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictTurn {
    /// What was asked.
    pub prompt: String,
    /// What the model answered.
    pub model: String,
    /// What its opponent answered, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opponent: Option<String>,
    /// The answer that the judge was given to hold them against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// One call of the judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCall {
    /// Whose answer was shown first, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Side>,
    /// Who won by this call, whatever the order was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<PairOutcome>,
    /// The verdict as it was read: a label, a grade, a preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// What the judge wrote, or the tokens that it found likely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
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

/// What a judge made of a row: [`VerdictRow`]'s values and calls, made from the row of any judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdicts {
    values: Vec<f64>,
    calls: Vec<VerdictCall>,
}

impl VerdictRow {
    /// A row of a question of its own.
    pub fn new(id: impl Into<String>, turns: Vec<VerdictTurn>, verdicts: impl Into<Verdicts>) -> Self {
        let (id, Verdicts { values, calls }) = (id.into(), verdicts.into());
        Self { question: id.clone(), id, category: String::new(), turn: None, system: String::new(), turns, values, calls }
    }

    /// Who won, by what the row is worth; none without a verdict.
    pub fn outcome(&self) -> Option<PairOutcome> {
        let mean = crate::stats::mean_in_order(self.values.clone())?;
        Some(outcome_of(mean))
    }
}

/// Who won by a value from 0 to 1.
pub(super) fn outcome_of(value: f64) -> PairOutcome {
    match value.total_cmp(&0.5) {
        std::cmp::Ordering::Greater => PairOutcome::Win,
        std::cmp::Ordering::Equal => PairOutcome::Tie,
        std::cmp::Ordering::Less => PairOutcome::Loss,
    }
}

fn worth(outcome: PairOutcome) -> f64 {
    match outcome {
        PairOutcome::Win => 1.0,
        PairOutcome::Tie => 0.5,
        PairOutcome::Loss => 0.0,
    }
}

impl From<&PairRow> for Verdicts {
    fn from(row: &PairRow) -> Self {
        let call = |(place, first): (usize, Side)| VerdictCall {
            first: Some(first),
            outcome: row.labels[place].map(|label| label.outcome(first == Side::Opponent)),
            verdict: row.labels[place].map(|label| if label == PairLabel::Tie { "tie".into() } else { format!("{label:?}") }),
            text: row.judgments[place].clone(),
            problem: row.labels[place].is_none().then(|| row.problem.clone()).flatten(),
        };
        let calls = [Side::Model, Side::Opponent].into_iter().enumerate().map(call).collect();
        Self { values: row.outcome.map(worth).into_iter().collect(), calls }
    }
}

impl From<&ArenaRow> for Verdicts {
    fn from(row: &ArenaRow) -> Self {
        let value = |letter| match letter {
            'b' => 1.0,
            't' => 0.5,
            _ => 0.0,
        };
        // In game 1 the opponent is A.
        let call = |(game, first): (&crate::judge::ArenaGame, Side)| VerdictCall {
            first: Some(first),
            outcome: game.score.map(|label| label.side().outcome(first == Side::Opponent)),
            verdict: game.score.map(ArenaLabel::as_str).map(Into::into),
            text: game.judgment.clone(),
            problem: game.problem.clone(),
        };
        let calls = row.games.iter().zip([Side::Opponent, Side::Model]).map(call).collect();
        Self { values: row.outcomes().chars().map(value).collect(), calls }
    }
}

impl From<&GradeRow> for Verdicts {
    fn from(row: &GradeRow) -> Self {
        let (verdict, text) = (row.score.map(|score| score.to_string()), row.judgment.clone());
        let call = VerdictCall { first: None, outcome: None, verdict, text, problem: row.problem.clone() };
        Self { values: row.score.into_iter().collect(), calls: vec![call] }
    }
}

impl From<&LogprobRow> for Verdicts {
    fn from(row: &LogprobRow) -> Self {
        let value = row.preference.map(|preference| preference - 1.0);
        let likely = |top: &Vec<janus_core::TopLogprob>| {
            top.iter().map(|top| format!("{:?} with probability {:.4}", top.token, top.logprob.exp())).collect::<Vec<_>>().join("\n")
        };
        let call = VerdictCall {
            first: Some(if row.switched { Side::Model } else { Side::Opponent }),
            outcome: value.map(outcome_of),
            verdict: row.preference.map(|preference| format!("preference {preference:.4}")),
            text: row.top_logprobs.as_ref().map(likely),
            problem: row.problem.clone(),
        };
        // Equal outputs are a tie that nobody was asked about.
        let asked = row.top_logprobs.is_some() || row.problem.is_some();
        Self { values: value.into_iter().collect(), calls: if asked { vec![call] } else { Vec::new() } }
    }
}
