//! The tasks of the benchmark.

use janus_core::SamplingParams;

use super::MtBenchQuestion;
use crate::answer::{Task, checked};
use crate::{Error, Result};

/// Maximum number of new tokens of an answer.
const ANSWER_TOKENS: usize = 1024;

/// The temperature at which answers to a category are sampled; `None` for a category that MT-Bench does
/// not have.
fn temperature(category: &str) -> Option<f64> {
    match category {
        "writing" | "roleplay" => Some(0.7),
        "stem" | "humanities" => Some(0.1),
        "extraction" | "math" | "coding" | "reasoning" => Some(0.0),
        _ => None,
    }
}

/// The tasks of the benchmark: both turns at the temperature of the question's category (0 is greedy
/// decoding), at most 1,024 new tokens each, without a repetition penalty.
///
/// # Errors
/// [`Error::Row`] for an unknown category, a question that occurs twice, or an empty turn.
pub(crate) fn tasks(questions: &[MtBenchQuestion], seed: u64) -> Result<Vec<Task>> {
    let task = |(row, question): (usize, &MtBenchQuestion)| {
        let temperature = temperature(&question.category).ok_or_else(|| {
            Error::row(row, "category", "one of MT-Bench's eight", format!("\"{}\"", question.category))
        })?;
        let sampling = SamplingParams { temperature, seed, ..SamplingParams::greedy(ANSWER_TOKENS) };
        Ok(Task { id: question.question_id.clone(), system: None, turns: question.turns.clone(), sampling })
    };
    checked(questions.iter().enumerate().map(task).collect::<Result<_>>()?, "question_id", "turns")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(category: &str) -> MtBenchQuestion {
        MtBenchQuestion {
            question_id: "81".into(),
            category: category.into(),
            turns: vec!["a".into(), "b".into()],
        }
    }

    #[test]
    fn each_category_has_a_temperature_and_others_are_refused() {
        let all = ["writing", "roleplay", "extraction", "math", "coding", "reasoning", "stem", "humanities"];
        let temperatures =
            all.map(|category| tasks(&[question(category)], 7).unwrap()[0].sampling.temperature);
        assert_eq!(temperatures, [0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1]);
        let sampling = tasks(&[question("stem")], 7).unwrap().remove(0).sampling;
        assert_eq!(
            (sampling.max_tokens, sampling.top_p, sampling.repetition_penalty, sampling.seed),
            (1024, 1.0, 1.0, 7)
        );
        let error = tasks(&[question("stem"), question("sports")], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"row 2, field "category": expected one of MT-Bench's eight, got "sports""#
        );
    }
}
