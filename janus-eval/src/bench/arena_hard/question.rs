//! The questions.

use janus_core::{ChatRequest, Message, SamplingParams};
use serde::{Deserialize, Serialize};

/// New tokens of an answer.
const ANSWER_TOKENS: usize = 4096;

/// A question of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its id.
    pub question_id: String,
    /// The group of like questions that it was drawn from.
    #[serde(default)]
    pub cluster: String,
    /// What is asked.
    pub prompt: String,
}

/// The requests that have a model answer the questions: greedy, 4,096 new tokens.
pub fn requests(questions: &[Question]) -> Vec<ChatRequest> {
    let request = |question: &Question| ChatRequest {
        id: question.question_id.clone(),
        messages: vec![Message::user(&question.prompt)],
        sampling: SamplingParams::greedy(ANSWER_TOKENS),
    };
    questions.iter().map(request).collect()
}
