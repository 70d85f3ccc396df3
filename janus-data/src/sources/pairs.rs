//! Rows of `janus_core::PairRecord`: `system`, `prompt`, `chosen`, `rejected` (messages). A comparison.

use janus_core::{Message, Role};

use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Pairs;

impl RowSource for Pairs {
    fn name(&self) -> &str {
        "pairs"
    }

    fn main_source(&self) -> &str {
        ""
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let system = row.optional_text("system")?;
        let mut pair = Comparison::of(row.messages("chosen")?, row.messages("rejected")?)?;
        pair.main_source = row.optional_text("main_source")?;
        pair.original_source = row.optional_text("original_source")?;
        if !system.is_empty() && pair.prompt.first().is_some_and(|first| first.role != Role::System) {
            pair.prompt.insert(0, Message::system(system));
        }
        Ok(RowContent::Comparison(pair))
    }
}
