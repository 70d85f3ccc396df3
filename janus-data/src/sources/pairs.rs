//! Rows of `janus_core::PairRecord`: `system`, `prompt`, `chosen`, `rejected`. A comparison.
//!
//! The answers are lists of messages, which contain the whole conversation or the answer alone, or plain
//! texts. If they do not contain the conversation, it is in `prompt`: a text, or a list of messages.

use janus_core::{Message, Role};

use super::content::begin_with;
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
        add_prompt(&mut pair.prompt, row)?;
        pair.main_source = row.optional_text("main_source")?;
        pair.original_source = row.optional_text("original_source")?;
        begin_with(&row.optional_text("system")?, &mut pair.prompt, &mut [])?;
        Ok(RowContent::Comparison(pair))
    }
}

/// Adds what the field `prompt` says before the conversation that the answers repeat. A text that the
/// conversation does not contain is not read.
fn add_prompt(conversation: &mut Vec<Message>, row: Fields<'_>) -> Result<(), RowError> {
    if conversation.iter().all(|message| message.role == Role::System) {
        conversation.extend(row.messages_or_text("prompt", Role::User)?);
        return Ok(());
    }
    if !row.contains("prompt") {
        return Ok(());
    }
    if let Some(text) = row.unread_text("prompt") {
        if conversation.iter().any(|message| message.content.contains(text.trim())) {
            row.text("prompt")?;
        }
        return Ok(());
    }
    let prompt = row.messages("prompt")?;
    if prompt.ends_with(conversation) {
        *conversation = prompt;
    } else if !conversation.starts_with(&prompt) {
        return Err(RowError::rule("prompt", "the conversations of chosen and rejected begin otherwise"));
    }
    Ok(())
}
