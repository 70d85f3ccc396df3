//! Questions, and the rows of answer files.

use std::collections::HashMap;
use std::path::Path;

use janus_core::{Generation, SamplingParams};
use janus_data::read_all;
use serde::{Deserialize, Serialize};

use crate::answer::{Task, checked};
use crate::files::rule;
use crate::protocol::{Case, Turn};
use crate::{Error, Result};

/// Maximum number of new tokens of an answer.
const ANSWER_TOKENS: usize = 4096;

/// A question of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArenaQuestion {
    /// Its id.
    pub question_id: String,
    /// The cluster of similar questions that it was drawn from.
    #[serde(default)]
    pub cluster: String,
    /// The user's message.
    pub prompt: String,
}

/// The tasks of the benchmark: greedy decoding, at most 4,096 new tokens.
///
/// # Errors
/// [`Error::Row`](crate::Error::Row) for a question that occurs twice or is empty.
pub(crate) fn tasks(questions: &[ArenaQuestion]) -> Result<Vec<Task>> {
    let task = |question: &ArenaQuestion| {
        Task::new(&question.question_id, &question.prompt, SamplingParams::greedy(ANSWER_TOKENS))
    };
    checked(questions.iter().map(task).collect(), "question_id", "prompt")
}

/// A model's answer to a question: the benchmark's own row, and the text again as `answer`, as in this
/// workspace's reference data. The random `answer_id` and the `tstamp` are left out, so that equal runs
/// give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArenaAnswer {
    /// The question's id.
    pub question_id: String,
    /// The model's name.
    pub model_id: String,
    /// The answer's text.
    pub answer: String,
    /// The same text as one choice with one turn.
    pub choices: Vec<ArenaChoice>,
}

/// An answer to every turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArenaChoice {
    /// Its position, from 0.
    pub index: usize,
    /// The answer to each turn; there is one.
    pub turns: Vec<ArenaTurn>,
}

/// A model's answer to a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArenaTurn {
    /// The text.
    pub content: String,
    /// Its number of tokens by the model's own tokenizer. The benchmark's scripts use another tokenizer.
    pub token_len: usize,
}

impl ArenaAnswer {
    /// The row of a question.
    pub(crate) fn new(
        question_id: impl Into<String>,
        model_id: impl Into<String>,
        generation: &Generation,
    ) -> Self {
        let turn = ArenaTurn { content: generation.text.clone(), token_len: generation.completion_tokens };
        Self {
            question_id: question_id.into(),
            model_id: model_id.into(),
            answer: generation.text.clone(),
            choices: vec![ArenaChoice { index: 0, turns: vec![turn] }],
        }
    }
}

#[derive(Deserialize)]
struct AnswerRow {
    #[serde(alias = "id")]
    question_id: String,
    #[serde(alias = "response")]
    answer: String,
}

/// The answers of a file, by question.
fn read_answers(path: &Path) -> Result<HashMap<String, String>> {
    let rows: Vec<AnswerRow> = read_all(path)?;
    let mut answers = HashMap::new();
    for (row, AnswerRow { question_id, answer }) in rows.into_iter().enumerate() {
        if answers.insert(question_id, answer).is_some() {
            return Err(rule(
                path,
                row as u64 + 1,
                None,
                Some("question_id".into()),
                "the question occurs twice".into(),
            ));
        }
    }
    Ok(answers)
}

/// The input of [`ArenaHard`](crate::protocol::ArenaHard): each question of a file of
/// `{question_id, cluster, prompt}` rows, with the model's and the baseline's answers from files of
/// `{question_id, answer}` rows.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read or answers a question twice, [`Error::NoAnswer`].
pub fn cases(questions: &Path, model: &Path, baseline: &Path) -> Result<Vec<Case>> {
    let questions: Vec<ArenaQuestion> = read_all(questions)?;
    let (mine, base) = (read_answers(model)?, read_answers(baseline)?);
    let case = |question: &ArenaQuestion| {
        let id = &question.question_id;
        let of = |answers: &HashMap<String, String>, path: &Path| {
            let none = || Error::NoAnswer { file: path.display().to_string(), question: id.clone() };
            answers.get(id).cloned().ok_or_else(none)
        };
        let turn = Turn::new(&question.prompt, of(&mine, model)?).against(of(&base, baseline)?);
        Ok(Case { category: question.cluster.clone(), ..Case::new(id, vec![turn]) })
    };
    questions.iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_greedy_and_a_row_has_the_benchmarks_format() {
        let question =
            |id: &str| ArenaQuestion { question_id: id.into(), cluster: String::new(), prompt: "p".into() };
        let tasks = tasks(&[question("a"), question("b")]).unwrap();
        assert_eq!((tasks[1].id.as_str(), &tasks[1].sampling), ("b", &SamplingParams::greedy(4096)));
        let generation = Generation::new("t").with_tokens(1, 7);
        let written = serde_json::to_string(&ArenaAnswer::new("a", "m", &generation)).unwrap();
        let expected = r#"{"question_id":"a","model_id":"m","answer":"t","choices":[{"index":0,"turns":[{"content":"t","token_len":7}]}]}"#;
        assert_eq!(written, expected);
    }
}
