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
<<<<<<< HEAD
=======

/// The temperature at which answers to a category are sampled.
pub fn temperature(category: &str) -> f64 {
    match category {
        "writing" | "roleplay" => 0.7,
        "stem" | "humanities" => 0.1,
        _ => 0.0,
    }
}

/// Has a model answer every turn of every question, 1,024 new tokens each: first all first turns, then the second ones with
/// the first answers before them. A question ends with its first failure.
pub fn answer(questions: &[Question], model: &dyn ChatModel, seed: u64) -> Vec<Result<Vec<String>, ModelError>> {
    let mut answers: Vec<Result<Vec<String>, ModelError>> = questions.iter().map(|_| Ok(Vec::new())).collect();
    let turns = questions.iter().map(|question| question.turns.len()).max().unwrap_or(0);
    for turn in 0..turns {
        let (mut places, mut requests) = (Vec::new(), Vec::new());
        for (place, (question, so_far)) in questions.iter().zip(&answers).enumerate() {
            let (Ok(so_far), Some(next)) = (so_far, question.turns.get(turn)) else { continue };
            let before =
                question.turns.iter().zip(so_far).flat_map(|(asked, answered)| [Message::user(asked), Message::assistant(answered)]);
            let sampling = SamplingParams { temperature: temperature(&question.category), seed, ..SamplingParams::greedy(ANSWER_TOKENS) };
            places.push(place);
            requests.push(ChatRequest {
                id: format!("{}/turn-{}", question.question_id, turn + 1),
                messages: before.chain([Message::user(next)]).collect(),
                sampling,
            });
        }
        for (place, generated) in places.into_iter().zip(model.generate(&requests)) {
            match generated.map(|generated| generated.into_iter().next().map(|Generation { text, .. }| text).unwrap_or_default()) {
                Ok(text) => {
                    if let Ok(so_far) = &mut answers[place] {
                        so_far.push(text);
                    }
                }
                Err(error) => answers[place] = Err(error),
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use janus_core::FinishReason;

    use super::*;

    /// Says how many messages it was shown and at what temperature; fails on a question about failure.
    struct Counting;

    impl ChatModel for Counting {
        fn name(&self) -> &str {
            "counting"
        }

        fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
            for (index, request) in requests.iter().enumerate() {
                if request.messages.iter().any(|message| message.content == "fail") {
                    on_answer(index, Err(ModelError::Request { id: request.id.clone(), reason: "asked to".into() }));
                    continue;
                }
                let text = format!("{} {} {}", request.messages.len(), request.sampling.temperature, request.sampling.max_tokens);
                let generation = Generation { text, finish_reason: FinishReason::Stop, ..GENERATION };
                on_answer(index, Ok(vec![generation]));
            }
        }
    }

    const GENERATION: Generation =
        Generation { text: String::new(), finish_reason: FinishReason::Stop, prompt_tokens: 0, completion_tokens: 0, logprobs: None };

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

    #[test]
    fn the_second_turn_sees_the_first_answer() {
        let question = |id: &str, category: &str, turns: &[&str]| Question {
            question_id: id.into(),
            category: category.into(),
            turns: turns.iter().map(|turn| turn.to_string()).collect(),
        };
        let questions = [question("81", "writing", &["a", "b"]), question("82", "math", &["fail", "b"]), question("83", "stem", &["a"])];
        let answers = answer(&questions, &Counting, 0);
        assert_eq!(answers[0].as_ref().unwrap(), &["1 0.7 1024", "3 0.7 1024"]);
        assert!(answers[1].is_err());
        assert_eq!(answers[2].as_ref().unwrap(), &["1 0.1 1024"]);
    }
}
>>>>>>> w3-eval
