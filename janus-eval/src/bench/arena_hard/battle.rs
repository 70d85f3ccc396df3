//! Battles, and the files that hold them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::{JudgedCase, PairOutcome};
use crate::{Error, Result};

/// The outcome of one battle between a model and the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Battle {
    /// The baseline wins; `a` in files.
    #[serde(rename = "a")]
    Baseline,
    /// A tie; `t` in files.
    #[serde(rename = "t")]
    Tie,
    /// The model wins; `b` in files.
    #[serde(rename = "b")]
    Model,
}

impl Battle {
    /// What the battle is worth for the model.
    pub(super) fn worth(self) -> f64 {
        match self {
            Self::Baseline => 0.0,
            Self::Tie => 0.5,
            Self::Model => 1.0,
        }
    }
}

/// One row of a battle file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArenaBattles {
    /// The question.
    pub question_id: String,
    /// One letter for each battle: `a` the baseline wins, `b` the model wins, `t` a tie; game 1 first, then game 2.
    pub outcomes: String,
}

impl ArenaBattles {
    /// The battles of a question as an [`ArenaHard`](crate::protocol::ArenaHard) judge judged it; a game without a verdict has none.
    pub fn of(judged: &JudgedCase) -> Self {
        let letter = |value: &f64| match PairOutcome::of_value(*value) {
            PairOutcome::Win => 'b',
            PairOutcome::Tie => 't',
            PairOutcome::Loss => 'a',
        };
        Self { question_id: judged.case.id.clone(), outcomes: judged.values.iter().map(letter).collect() }
    }
}

/// The checked battles of one model, by question.
pub(super) struct Battles {
    /// In the order of the questions' ids: that of the rows changes nothing.
    pub questions: Vec<Vec<Battle>>,
}

impl Battles {
    pub(super) fn new(rows: &[ArenaBattles]) -> Result<Self> {
        let mut seen = BTreeMap::new();
        let mut questions = BTreeMap::new();
        for (row, question) in rows.iter().enumerate() {
            if let Some(first) = seen.insert(question.question_id.as_str(), row) {
                let got = format!("\"{}\", as in row {}", question.question_id, first + 1);
                return Err(Error::row(row, "question_id", "each question once", got));
            }
            let read = |letter: char| match letter {
                'a' => Ok(Battle::Baseline),
                'b' => Ok(Battle::Model),
                't' => Ok(Battle::Tie),
                other => Err(Error::row(row, "outcomes", "letters a, b and t", format!("{other:?}"))),
            };
            questions.insert(question.question_id.as_str(), question.outcomes.chars().map(read).collect::<Result<Vec<_>>>()?);
        }
        let questions: Vec<Vec<Battle>> = questions.into_values().collect();
        if questions.iter().all(Vec::is_empty) {
            return Err(Error::Empty { what: "an Arena-Hard score over no battles" });
        }
        Ok(Self { questions })
    }

    /// All battles.
    pub(super) fn iter(&self) -> impl Iterator<Item = Battle> + '_ {
        self.questions.iter().flatten().copied()
    }

    /// How many battles ended so.
    pub(super) fn count(&self, outcome: Battle) -> usize {
        self.iter().filter(|battle| *battle == outcome).count()
    }
}
