//! Alpaca's layout: `instruction`, `input`, `output`, `system`, `history` [[user, assistant]]. A
//! conversation; or, with `chosen` and `rejected` (texts or messages) in the place of `output`, a comparison.

use janus_core::{Message, Role};

use super::content::{joined, turns};
use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Alpaca;

impl RowSource for Alpaca {
    fn name(&self) -> &str {
        "alpaca"
    }

    fn main_source(&self) -> &str {
        ""
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let system = row.optional_text("system")?;
        let prompt = joined(&row.text("instruction")?, &row.optional_text("input")?);
        let pair = row.contains("chosen") && row.contains("rejected");
        let answer = if pair { row.answer("chosen")? } else { row.text("output")? };
        let mut messages = turns(&system, &prompt, &answer);
        let at = usize::from(messages[0].role == Role::System);
        messages.splice(at..at, row.history("history")?);
        if !pair {
            return Ok(RowContent::conversation("", messages));
        }
        let mut rejected = messages.clone();
        rejected.pop();
        rejected.push(Message::assistant(row.answer("rejected")?));
        Ok(RowContent::Comparison(Comparison::of(messages, rejected)?))
    }
}
