//! Rows of `janus_core::PairRecord`: `system`, `prompt`, `chosen`, `rejected`. A comparison.
//!
//! The answers are lists of messages, which contain the whole conversation or the answer alone, or plain
//! texts. If they do not contain the conversation, it is in `prompt`: a text, or a list of messages.

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
        let mut pair = Comparison::of(
            row.messages_or_text("chosen", Role::Assistant)?,
            row.messages_or_text("rejected", Role::Assistant)?,
        )?;
        if pair.prompt.iter().all(|message| message.role == Role::System) {
            pair.prompt.extend(row.messages_or_text("prompt", Role::User)?);
        }
        pair.main_source = row.optional_text("main_source")?;
        pair.original_source = row.optional_text("original_source")?;
        let system = row.optional_text("system")?;
        match pair.prompt.first() {
            _ if system.is_empty() => {}
            Some(first) if first.role == Role::System && first.content != system => {
                return Err(RowError::rule("system", "the conversation begins with another system message"));
            }
            Some(first) if first.role == Role::System => {}
            _ => pair.prompt.insert(0, Message::system(system)),
        }
        Ok(RowContent::Comparison(pair))
    }
}
