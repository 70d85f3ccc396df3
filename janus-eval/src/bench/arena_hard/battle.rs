//! Battles, and the files that hold them.

use std::collections::BTreeMap;
use std::path::Path;

use janus_data::write_all;
use serde::{Deserialize, Serialize};

use crate::protocol::{JudgedCase, PairOutcome};
use crate::run::CaseRun;
use crate::{Error, Result};

/// One row of a battle file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArenaBattles {
    /// The question's id.
    pub question_id: String,
    /// One letter for each battle: `a` the baseline wins, `b` the model wins, `t` a tie; game 1 first,
    /// then game 2.
    pub outcomes: String,
}

impl ArenaBattles {
    /// The battles of a question; a game without a verdict has none.
    fn of(judged: &JudgedCase) -> Self {
        let letter = |value: &f64| match PairOutcome::of_value(*value) {
            PairOutcome::Win => 'b',
            PairOutcome::Tie => 't',
            PairOutcome::Loss => 'a',
        };
        Self { question_id: judged.case.id.clone(), outcomes: judged.values.iter().map(letter).collect() }
    }
}

/// Writes the file of battles of a run that [`ArenaHard`](crate::protocol::ArenaHard) judged, in any
/// format of [`write_all`].
///
/// # Errors
/// [`Error::File`].
pub fn write(run: &CaseRun, path: impl AsRef<Path>) -> Result<()> {
    Ok(write_all(path, &run.rows.iter().map(ArenaBattles::of).collect::<Vec<_>>())?)
}

/// The checked battles of one model, by question.
pub(super) struct Battles {
    /// In the order of the questions' ids, so that the order of the rows has no effect.
    pub questions: Vec<Vec<PairOutcome>>,
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
                'a' => Ok(PairOutcome::Loss),
                'b' => Ok(PairOutcome::Win),
                't' => Ok(PairOutcome::Tie),
                other => Err(Error::row(row, "outcomes", "letters a, b and t", format!("{other:?}"))),
            };
            questions.insert(
                question.question_id.as_str(),
                question.outcomes.chars().map(read).collect::<Result<Vec<_>>>()?,
            );
        }
        let questions: Vec<Vec<PairOutcome>> = questions.into_values().collect();
        if questions.iter().all(Vec::is_empty) {
            return Err(Error::Empty { what: "an Arena-Hard score without battles" });
        }
        Ok(Self { questions })
    }

    /// All battles.
    pub(super) fn iter(&self) -> impl Iterator<Item = PairOutcome> + '_ {
        self.questions.iter().flatten().copied()
    }

    /// Number of battles with this outcome.
    pub(super) fn count(&self, outcome: PairOutcome) -> usize {
        self.iter().filter(|battle| *battle == outcome).count()
    }
}
