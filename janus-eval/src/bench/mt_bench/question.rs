//! Questions, and the judge's cases.

use std::path::Path;

use janus_data::read_all;
use serde::{Deserialize, Serialize};

use super::answer::AnswersByQuestion;
use crate::join::text_or_number;
use crate::protocol::{Case, Turn};
use crate::{Error, Result};

/// A question of two turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MtBenchQuestion {
    /// Its number, 81 to 160.
    #[serde(deserialize_with = "text_or_number")]
    pub question_id: String,
    /// One of eight categories.
    pub category: String,
    /// The user's messages, turn by turn.
    pub turns: Vec<String>,
}

impl MtBenchQuestion {
    /// One case for each turn, which includes the turns before it.
    fn cases(
        &self,
        model: &[String],
        opponent: Option<&[String]>,
        reference: &[String],
    ) -> Result<Vec<Case>> {
        let shown = needs_reference(&self.category);
        let turns = self.turns.len();
        let fits = (1..=2).contains(&turns)
            && model.len() == turns
            && opponent.is_none_or(|opponent| opponent.len() == turns)
            && (!shown || reference.len() == turns);
        if !fits {
            let (id, model, reference) = (&self.question_id, model.len(), reference.len());
            let opponent = opponent.map(|opponent| format!(" and {}", opponent.len())).unwrap_or_default();
            let got =
                format!("question {id}: {turns} turns, {model}{opponent} answers, {reference} references");
            return Err(Error::Setting {
                field: "a case",
                got,
                expected: "one or two turns, each with its answers",
            });
        }
        let turn = |turn: usize| Turn {
            prompt: self.turns[turn].clone(),
            model: model[turn].clone(),
            opponent: opponent.map(|opponent| opponent[turn].clone()),
            reference: shown.then(|| reference[turn].clone()),
        };
        let case = |last: usize| Case {
            id: format!("{}/turn-{}", self.question_id, last + 1),
            question: self.question_id.clone(),
            category: self.category.clone(),
            turn: Some(last + 1),
            system: String::new(),
            turns: (0..=last).map(turn).collect(),
        };
        Ok((0..turns).map(case).collect())
    }
}

/// The judge's input: one case for each turn, which includes the turns before it. A case holds a model's
/// answers, for [`MtBench`](crate::protocol::MtBench), and with `opponent` also an opponent's, for
/// [`Pairwise::mt_bench`](crate::protocol::Pairwise::mt_bench). Cases of math, reasoning and coding also
/// hold the reference answers.
///
/// The file `questions` has rows of `{question_id, category, turns}`. The other files have rows of
/// `{question_id, turns}`, or FastChat's rows with `choices`, whose first choice is used.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read, or answers a question twice; [`Error::NoAnswer`];
/// [`Error::Setting`] for a question with neither one nor two turns, or with another number of answers
/// than turns.
pub fn cases(
    questions: &Path,
    answers: &Path,
    opponent: Option<&Path>,
    references: &Path,
) -> Result<Vec<Case>> {
    let questions: Vec<MtBenchQuestion> = read_all(questions)?;
    let (model, references) = (AnswersByQuestion::read(answers)?, AnswersByQuestion::read(references)?);
    let opponent = opponent.map(AnswersByQuestion::read).transpose()?;
    let mut cases = Vec::new();
    for question in &questions {
        let id = &question.question_id;
        let opponent = opponent.as_ref().map(|opponent| opponent.of(id)).transpose()?;
        let reference = if needs_reference(&question.category) { references.of(id)? } else { &[] };
        cases.extend(question.cases(model.of(id)?, opponent, reference)?);
    }
    Ok(cases)
}

/// Whether the judge is shown a reference answer for this category.
pub(super) fn needs_reference(category: &str) -> bool {
    matches!(category, "math" | "reasoning" | "coding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_judged_turn_by_turn_with_references_where_they_are_needed() {
        let texts = |names: [&str; 2]| names.map(String::from).to_vec();
        let (mine, other, right) = (texts(["m1", "m2"]), texts(["o1", "o2"]), texts(["r1", "r2"]));
        let question = |category: &str| MtBenchQuestion {
            question_id: "81".into(),
            category: category.into(),
            turns: texts(["q1", "q2"]),
        };
        let (math, writing) = (question("math"), question("writing"));
        let pairs = math.cases(&mine, Some(&other), &right).unwrap();
        assert_eq!(
            pairs.iter().map(|pair| (pair.id.as_str(), pair.turns.len())).collect::<Vec<_>>(),
            [("81/turn-1", 1), ("81/turn-2", 2)]
        );
        assert_eq!(pairs[1].turns[1], Turn::new("q2", "m2").against("o2").reference("r2"));
        assert_eq!(writing.cases(&mine, Some(&other), &[]).unwrap()[0].turns[0].reference, None);
        assert_eq!(writing.cases(&mine, None, &[]).unwrap()[1].turns[0].opponent, None);
        for (model, reference) in [(&mine[..1], &right[..]), (&mine[..], &right[..1]), (&mine[..], &[])] {
            assert!(matches!(math.cases(model, Some(&other), reference), Err(Error::Setting { .. })));
            assert!(matches!(math.cases(model, None, reference), Err(Error::Setting { .. })));
        }
    }
}
