//! OpenAI's layouts: `messages`, a conversation; or `input.messages`, `preferred_output`, `non_preferred_output`, a comparison.

use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct OpenAi;

impl RowSource for OpenAi {
    fn name(&self) -> &str {
        "openai"
    }

    fn main_source(&self) -> &str {
        ""
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        if row.contains("messages") {
            return Ok(RowContent::conversation("", row.messages("messages")?));
        }
        let input = row.object("input")?;
        let prompt = input.messages("messages").map_err(|error| error.within("input"))?;
        let last = |name| Ok(row.messages(name)?.pop().map(|message| message.content).unwrap_or_default());
        let (chosen, rejected) = (last("preferred_output")?, last("non_preferred_output")?);
        Ok(RowContent::Comparison(Comparison { prompt, chosen, rejected, ..Comparison::default() }))
    }
}
