//! OpenAI's layouts: `messages` and `system`, a conversation; with `rejected_response` (a text) or
//! `rejected_messages` too, as ms-swift has them, a comparison. Or `input.messages`, `preferred_output`,
//! `non_preferred_output`, a comparison.

use janus_core::Message;

use super::content::begin_with;
use super::{Comparison, Fields, RowContent, RowError, RowSource, is_empty};

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
            let (mut messages, mut without_loss) = (row.messages("messages")?, row.without_loss("messages")?);
            begin_with(&row.optional_text("system")?, &mut messages, &mut without_loss)?;
            let mut rejected = messages.clone();
            if row.contains("rejected_messages") {
                rejected = row.messages("rejected_messages")?;
                begin_with(&row.optional_text("system")?, &mut rejected, &mut [])?;
            } else if row.contains("rejected_response") {
                rejected.pop();
                rejected.push(Message::assistant(row.answer("rejected_response")?));
            } else {
                return Ok(RowContent::weighted_conversation("", messages, without_loss));
            }
            return Ok(RowContent::Comparison(Comparison::of(messages, rejected)?));
        }
        let input = row.object("input")?;
        if let Some(tools) = input.get("tools").filter(|tools| !is_empty(tools)) {
            let got = tools.as_array().map_or(1, Vec::len);
            return Err(RowError::rule(
                "input.tools",
                format!("{got} descriptions of tools cannot be trained"),
            ));
        }
        let prompt = Fields::new(&input).messages("messages").map_err(|error| error.within("input"))?;
        let answer = |name| match <[Message; 1]>::try_from(row.messages(name)?) {
            Ok([answer]) => Ok(answer.content),
            Err(messages) => Err(RowError::mismatch(name, "one message", format!("{}", messages.len()))),
        };
        let (chosen, rejected) = (answer("preferred_output")?, answer("non_preferred_output")?);
        Ok(RowContent::Comparison(Comparison { prompt, chosen, rejected, ..Comparison::default() }))
    }
}
