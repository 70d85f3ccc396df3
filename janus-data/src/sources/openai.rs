//! OpenAI's layouts: `messages`, a conversation; or `input.messages`, `preferred_output`,
//! `non_preferred_output`, a comparison.

use janus_core::Message;

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
            return Ok(RowContent::weighted_conversation(
                "",
                row.messages("messages")?,
                row.without_loss("messages")?,
            ));
        }
        let input = row.object("input")?;
        let prompt = Fields::new(&input).messages("messages").map_err(|error| error.within("input"))?;
        let answer = |name| match <[Message; 1]>::try_from(row.messages(name)?) {
            Ok([answer]) => Ok(answer.content),
            Err(messages) => Err(RowError::mismatch(name, "one message", format!("{}", messages.len()))),
        };
        let (chosen, rejected) = (answer("preferred_output")?, answer("non_preferred_output")?);
        Ok(RowContent::Comparison(Comparison { prompt, chosen, rejected, ..Comparison::default() }))
    }
}
