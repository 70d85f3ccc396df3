//! ShareGPT's layout: `conversations` [{`from`, `value`}], `system`. A conversation; or, with `chosen` and
//! `rejected` {`from`, `value`}, a comparison.

use janus_core::{Message, Role};

use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct ShareGpt;

impl RowSource for ShareGpt {
    fn name(&self) -> &str {
        "sharegpt"
    }

    fn main_source(&self) -> &str {
        ""
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let (mut messages, mut without_loss) =
            (row.messages("conversations")?, row.without_loss("conversations")?);
        let system = row.optional_text("system")?;
        match messages.first() {
            _ if system.is_empty() => {}
            Some(first) if first.role == Role::System && first.content != system => {
                return Err(RowError::rule("system", "the conversation begins with another system message"));
            }
            Some(first) if first.role == Role::System => {}
            _ => {
                messages.insert(0, Message::system(system));
                without_loss.iter_mut().for_each(|index| *index += 1);
            }
        }
        if !row.contains("chosen") {
            return Ok(RowContent::weighted_conversation("", messages, without_loss));
        }
        // The conversation precedes the answers; some writers append a first answer to it.
        while messages.last().is_some_and(|last| last.role == Role::Assistant) {
            messages.pop();
        }
        let (chosen, rejected) = (row.message("chosen")?.content, row.message("rejected")?.content);
        Ok(RowContent::Comparison(Comparison { prompt: messages, chosen, rejected, ..Comparison::default() }))
    }
}
