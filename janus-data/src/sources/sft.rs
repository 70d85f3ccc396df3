//! Rows of `janus_core::SftRecord`: `system`, `prompt`, `output`, `preference_set`. A conversation.

use super::content::turns;
use super::{Conversation, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Sft;

impl RowSource for Sft {
    fn name(&self) -> &str {
        "sft"
    }

    fn main_source(&self) -> &str {
        ""
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let preference_set = row.preference_set("preference_set")?;
        let messages = turns(
            &row.optional_text("system")?,
            &row.first_text(&["prompt", "instruction"])?,
            &row.text("output")?,
        );
        let (main_source, original_source) =
            (row.optional_text("main_source")?, row.optional_text("original_source")?);
        Ok(RowContent::Conversation(Conversation {
            main_source,
            original_source,
            preference_set,
            messages,
            ..Conversation::default()
        }))
    }
}
