//! ShareGPT's layout: `conversations` [{`from`, `value`}], `system`. A conversation; or, with `chosen` and `rejected`
//! {`from`, `value`}, a comparison.

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
        let mut messages = row.messages("conversations")?;
        let system = row.optional_text("system")?;
        if !system.is_empty() && messages.first().is_none_or(|first| first.role != Role::System) {
            messages.insert(0, Message::system(system));
        }
        if !row.contains("chosen") {
            return Ok(RowContent::conversation("", messages));
        }
        // The conversation precedes the answers; some writers append a first answer to it.
        while messages.last().is_some_and(|last| last.role == Role::Assistant) {
            messages.pop();
        }
        let (chosen, rejected) = (row.message("chosen")?.content, row.message("rejected")?.content);
        Ok(RowContent::Comparison(Comparison { prompt: messages, chosen, rejected, ..Comparison::default() }))
    }
}
