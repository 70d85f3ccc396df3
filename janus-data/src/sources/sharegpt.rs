//! ShareGPT's layout: `conversations` [{`from`, `value`}], `system`. A conversation; or, with `chosen` and
//! `rejected` {`from`, `value`}, a comparison.

use janus_core::Role;

use super::content::begin_with;
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
        begin_with(&row.optional_text("system")?, &mut messages, &mut without_loss)?;
        if !row.contains("chosen") {
            return Ok(RowContent::weighted_conversation("", messages, without_loss));
        }
        // The conversation precedes the answers; some writers append a first answer to it.
        while messages.last().is_some_and(|last| last.role == Role::Assistant) {
            messages.pop();
        }
        let (chosen, rejected) = (row.answer("chosen")?, row.answer("rejected")?);
        Ok(RowContent::Comparison(Comparison { prompt: messages, chosen, rejected, ..Comparison::default() }))
    }
}
