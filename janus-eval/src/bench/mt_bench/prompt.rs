//! Questions, and how they are asked and judged.

use janus_core::Message;
use serde::{Deserialize, Serialize};

use crate::judge::PromptTemplate;
use crate::{Error, Result};

/// A question of two turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number, 81 to 160.
    pub question_id: u32,
    /// One of eight.
    pub category: String,
    /// What the user says, turn by turn.
    pub turns: Vec<String>,
}

/// Whether the judge is shown a reference answer for this category.
pub fn needs_reference(category: &str) -> bool {
    matches!(category, "math" | "reasoning" | "coding")
}

/// The temperature at which answers to a category are sampled.
pub fn temperature(category: &str) -> f32 {
    match category {
        "writing" | "roleplay" => 0.7,
        "stem" | "humanities" => 0.1,
        _ => 0.0,
    }
}

/// The name of the published prompt that grades a turn, 1 or 2.
pub fn prompt_name(category: &str, turn: usize) -> &'static str {
    match (needs_reference(category), turn) {
        (false, 1) => "single-v1",
        (false, _) => "single-v1-multi-turn",
        (true, 1) => "single-math-v1",
        (true, _) => "single-math-v1-multi-turn",
    }
}

/// The judge's messages for a turn, 1 or 2: the template's slots filled with question, answers and, where the
/// category has one, the reference.
///
/// # Errors
/// [`Error::Setting`] for another turn or too few texts, [`Error::Prompt`] for a template with other slots.
pub fn judge_messages(
    template: &PromptTemplate,
    question: &Question,
    turn: usize,
    answers: &[String],
    reference: &[String],
) -> Result<Vec<Message>> {
    if !(1..=2).contains(&turn) {
        return Err(Error::Setting { field: "turn", got: turn.to_string(), expected: "1 or 2" });
    }
    let text = |texts: &[String], field, place: usize| {
        texts.get(place).cloned().ok_or(Error::Setting { field, got: format!("{} texts", texts.len()), expected: "a text for each turn" })
    };
    let mut values = Vec::new();
    if turn == 1 {
        values.push(("question", text(&question.turns, "turns", 0)?));
        values.push(("answer", text(answers, "answers", 0)?));
    }
    for place in 0..turn {
        values.push((["question_1", "question_2"][place], text(&question.turns, "turns", place)?));
        values.push((["answer_1", "answer_2"][place], text(answers, "answers", place)?));
        if needs_reference(&question.category) {
            values.push((["ref_answer_1", "ref_answer_2"][place], text(reference, "reference", place)?));
        }
    }
    let values: Vec<(&str, &str)> = values.iter().map(|(slot, text)| (*slot, text.as_str())).collect();
    template.fill(&values)
}
