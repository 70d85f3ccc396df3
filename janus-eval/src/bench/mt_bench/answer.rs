//! Rows of answer files, in FastChat's format.

use std::collections::HashMap;
use std::path::Path;

use janus_core::Generation;
use janus_data::read_all;
use serde::{Deserialize, Serialize, Serializer};

use crate::answer::Answers;
use crate::files::rule;
use crate::join::text_or_number;
use crate::{Error, Result};

/// A model's answers to a question. FastChat's random `answer_id` and its `tstamp` are left out, so that
/// equal runs give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MtBenchAnswer {
    /// The question's id, in files a number if it is numeric.
    #[serde(deserialize_with = "text_or_number", serialize_with = "number_or_text")]
    pub question_id: String,
    /// The model's name.
    pub model_id: String,
    /// Its answers; the first one is graded.
    pub choices: Vec<MtBenchChoice>,
}

/// An answer to every turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MtBenchChoice {
    /// Its position, from 0.
    pub index: usize,
    /// The answer to each turn, without leading and trailing white space.
    pub turns: Vec<String>,
}

impl MtBenchAnswer {
    /// The row of a question, with the first generation of each turn.
    pub(crate) fn new(
        question_id: impl Into<String>,
        model_id: impl Into<String>,
        answers: &Answers,
    ) -> Self {
        let text = |turn: &Vec<Generation>| {
            turn.first().map(|first| first.text.trim().to_string()).unwrap_or_default()
        };
        let choice = MtBenchChoice { index: 0, turns: answers.iter().map(text).collect() };
        Self { question_id: question_id.into(), model_id: model_id.into(), choices: vec![choice] }
    }
}

/// Writes an id as a number, as FastChat does, unless its digits would change, as those of `0081`.
fn number_or_text<S: Serializer>(id: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match id.parse::<u64>() {
        Ok(number) if number.to_string() == id => serializer.serialize_u64(number),
        _ => serializer.serialize_str(id),
    }
}

/// The answers in a file: a model's, or the references.
pub(super) struct AnswersByQuestion<'p> {
    path: &'p Path,
    by_question: HashMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct AnswerRow {
    #[serde(deserialize_with = "text_or_number")]
    question_id: String,
    turns: Option<Vec<String>>,
    #[serde(default)]
    choices: Vec<FirstChoice>,
}

#[derive(Deserialize)]
struct FirstChoice {
    turns: Vec<String>,
}

impl<'p> AnswersByQuestion<'p> {
    pub(super) fn read(path: &'p Path) -> Result<Self> {
        let rows: Vec<AnswerRow> = read_all(path)?;
        let mut by_question = HashMap::new();
        for (row, AnswerRow { question_id, turns, choices }) in rows.into_iter().enumerate() {
            let at = |field: &str, problem: &str| {
                rule(path, row as u64 + 1, None, Some(field.into()), problem.into())
            };
            let turns = turns.or_else(|| choices.into_iter().next().map(|choice| choice.turns));
            if by_question.insert(question_id, turns.ok_or_else(|| at("turns", "missing"))?).is_some() {
                return Err(at("question_id", "the question occurs twice"));
            }
        }
        Ok(Self { path, by_question })
    }

    /// The answers to a question, turn by turn.
    pub(super) fn of(&self, question_id: &str) -> Result<&[String]> {
        let none = || Error::NoAnswer { file: self.path.display().to_string(), question: question_id.into() };
        self.by_question.get(question_id).map(Vec::as_slice).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_fastchats_format_and_is_read_back() {
        let text = |text: &str| vec![Generation::new(text).with_tokens(1, 1)];
        let row = MtBenchAnswer::new("81", "m", &vec![text(" a\n"), text("b")]);
        let written = serde_json::to_string(&row).unwrap();
        assert_eq!(written, r#"{"question_id":81,"model_id":"m","choices":[{"index":0,"turns":["a","b"]}]}"#);
        assert_eq!(serde_json::from_str::<MtBenchAnswer>(&written).unwrap(), row);
        for id in ["q1", "0081", "-3"] {
            let written =
                serde_json::to_string(&MtBenchAnswer { question_id: id.into(), ..row.clone() }).unwrap();
            assert!(written.starts_with(&format!(r#"{{"question_id":"{id}""#)), "{written}");
        }
    }
}
