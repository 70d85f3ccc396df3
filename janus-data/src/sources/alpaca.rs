//! Alpaca's layout: `instruction`, `input`, `output`, `system`, `history` [[user, assistant]]. A
//! conversation.

use janus_core::Role;

use super::content::{joined, turns};
use super::{Fields, RowContent, RowError, RowSource};

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
        let mut messages = turns(&system, &prompt, &row.text("output")?);
        let at = usize::from(messages[0].role == Role::System);
        messages.splice(at..at, row.history("history")?);
        Ok(RowContent::conversation("", messages))
    }
}
