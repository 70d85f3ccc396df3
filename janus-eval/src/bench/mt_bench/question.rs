//! Questions, and the conversations that are graded.

use serde::{Deserialize, Serialize};

use crate::join::text_or_number;
use crate::judge::{Conversation, Pair, PairTurn};
use crate::{Error, Result};

/// A question of two turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number, 81 to 160.
    #[serde(deserialize_with = "text_or_number")]
    pub question_id: String,
    /// One of eight.
    pub category: String,
    /// What the user says, turn by turn.
    pub turns: Vec<String>,
}

impl Question {
    /// What [`GradeJudge`](crate::judge::GradeJudge) grades: the question with a model's answers, and, for math, reasoning and
    /// coding, with the reference answers.
    pub fn conversation<'t>(&'t self, answers: &'t [String], reference: &'t [String]) -> Conversation<'t> {
        Conversation {
            id: self.question_id.clone(),
            questions: self.turns.iter().map(String::as_str).collect(),
            answers: answers.iter().map(String::as_str).collect(),
            references: needs_reference(&self.category).then(|| reference.iter().map(String::as_str).collect()),
        }
    }
}

impl Question {
    /// What [`PairwiseJudge`](crate::judge::PairwiseJudge) compares: the question with the answers of two models, once for each turn with
    /// what came before it, and, for math, reasoning and coding, with the reference answers.
    ///
    /// # Errors
    /// [`Error::Setting`] for answers that are not one for each turn.
    pub fn pairs<'t>(&'t self, model: &'t [String], opponent: &'t [String], reference: &'t [String]) -> Result<Vec<Pair<'t>>> {
        let shown = needs_reference(&self.category);
        let turns = self.turns.len();
        let fits = (1..=2).contains(&turns) && [model.len(), opponent.len()] == [turns; 2] && (!shown || reference.len() == turns);
        if !fits {
            let (id, model, opponent, reference) = (&self.question_id, model.len(), opponent.len(), reference.len());
            let got = format!("question {id}: {turns} turns, {model} and {opponent} answers, {reference} references");
            return Err(Error::Setting { field: "a pair", got, expected: "one or two turns, each with its answers" });
        }
        let turn = |turn: usize| PairTurn {
            question: &self.turns[turn],
            model: &model[turn],
            opponent: &opponent[turn],
            reference: shown.then(|| reference[turn].as_str()),
        };
        let pair = |last: usize| Pair { id: format!("{}/turn-{}", self.question_id, last + 1), turns: (0..=last).map(turn).collect() };
        Ok((0..turns).map(pair).collect())
    }
}

/// Whether the judge is shown a reference answer for this category.
pub fn needs_reference(category: &str) -> bool {
    matches!(category, "math" | "reasoning" | "coding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_judged_turn_by_turn_with_references_where_they_are_needed() {
        let texts = |names: [&str; 2]| names.map(String::from).to_vec();
        let (mine, other, right) = (texts(["m1", "m2"]), texts(["o1", "o2"]), texts(["r1", "r2"]));
        let question = |category: &str| Question { question_id: "81".into(), category: category.into(), turns: texts(["q1", "q2"]) };
        let (math, writing) = (question("math"), question("writing"));
        let pairs = math.pairs(&mine, &other, &right).unwrap();
        assert_eq!(pairs.iter().map(|pair| (pair.id.as_str(), pair.turns.len())).collect::<Vec<_>>(), [("81/turn-1", 1), ("81/turn-2", 2)]);
        assert_eq!(pairs[1].turns[1], PairTurn { question: "q2", model: "m2", opponent: "o2", reference: Some("r2") });
        assert_eq!(writing.pairs(&mine, &other, &[]).unwrap()[0].turns[0].reference, None);
        for (model, reference) in [(&mine[..1], &right[..]), (&mine[..], &right[..1]), (&mine[..], &[])] {
            assert!(matches!(math.pairs(model, &other, reference), Err(Error::Setting { .. })));
        }
    }
}
