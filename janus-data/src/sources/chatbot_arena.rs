//! Chatbot Arena's battles: `conversation_a`, `conversation_b` (messages), `winner`. A comparison; ties and
//! battles of several turns are skipped.

use janus_core::Message;

use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct ChatbotArena;

impl RowSource for ChatbotArena {
    fn name(&self) -> &str {
        "chatbot-arena"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let (a, b) = (row.messages("conversation_a")?, row.messages("conversation_b")?);
        let (chosen, rejected) = match row.text("winner")?.as_str() {
            "model_a" => (a, b),
            "model_b" => (b, a),
            winner if winner.starts_with("tie") => return Ok(RowContent::Skip("tie")),
            winner => return Err(RowError::mismatch("winner", "model_a, model_b or a tie", winner)),
        };
        // After the first turn the conversations of the two models differ, so only one turn can be compared.
        match chosen.len() == 2 && rejected.len() == 2 {
            true => Ok(RowContent::Comparison(Comparison::of(chosen, rejected)?)),
            false => Ok(RowContent::Skip("several turns, in which the two conversations differ")),
        }
    }

    fn skipped_prompt(&self, row: Fields<'_>) -> Result<Vec<Message>, RowError> {
        row.messages("conversation_a")
    }
}
