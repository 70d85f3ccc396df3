//! TRL's layout: `prompt` and `completion`, each a text or a list of messages, and `system`. A conversation.

use janus_core::Role;

use super::content::begin_with;
use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct PromptCompletion;

impl RowSource for PromptCompletion {
    fn name(&self) -> &str {
        "prompt-completion"
    }

    fn main_source(&self) -> &str {
        ""
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let mut messages = row.messages_or_text("prompt", Role::User)?;
        messages.extend(row.messages_or_text("completion", Role::Assistant)?);
        begin_with(&row.optional_text("system")?, &mut messages, &mut [])?;
        Ok(RowContent::conversation("", messages))
    }
}
