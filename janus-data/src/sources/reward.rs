//! Rows of `janus_core::RewardRecord`: `input`, `chosen`, `rejected` (texts). A comparison.

use janus_core::Message;

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
        let prompt = vec![Message::user(row.text("input")?)];
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
