//! Questions, and the conversations that are graded.

use serde::{Deserialize, Serialize};

use crate::join::text_or_number;
use crate::judge::Conversation;

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

/// Whether the judge is shown a reference answer for this category.
pub fn needs_reference(category: &str) -> bool {
    matches!(category, "math" | "reasoning" | "coding")
}
