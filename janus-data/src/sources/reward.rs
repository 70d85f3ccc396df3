//! Rows of `janus_core::RewardRecord`: `input`, `chosen`, `rejected` (texts); `history`, the messages before
//! the input, and `system`, if there are any. A comparison.

use janus_core::Message;

use super::content::begin_with;
use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Reward;

impl RowSource for Reward {
    fn name(&self) -> &str {
        "reward"
    }

    fn main_source(&self) -> &str {
        ""
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let original_source = row.optional_text("main_source")?;
        let mut prompt = if row.contains("history") { row.messages("history")? } else { Vec::new() };
        prompt.push(Message::user(row.text("input")?));
        begin_with(&row.optional_text("system")?, &mut prompt, &mut [])?;
        let (chosen, rejected) = (row.text("chosen")?, row.text("rejected")?);
        Ok(RowContent::Comparison(Comparison {
            original_source,
            prompt,
            chosen,
            rejected,
            ..Comparison::default()
        }))
    }
}
