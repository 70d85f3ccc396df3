//! WebGPT's comparisons: `question.full_text`, `answer_0`, `answer_1`, `score_0`, `score_1`; or lists `text`
//! and `score` of two elements. A comparison; ties are skipped.

use janus_core::Message;

use super::dialogue::parse_turns;
use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct WebGpt;

impl RowSource for WebGpt {
    fn name(&self) -> &str {
        "webgpt"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        if row.contains("text") {
            let Some((chosen, rejected)) = row.scored()? else { return Ok(RowContent::Skip("tie")) };
            let dialogue = |text: &str| {
                parse_turns(text, "## Human:", "## Assistant:")
                    .map_err(|problem| RowError::rule("text", problem))
            };
            return RowContent::of_dialogues(dialogue(&chosen)?, dialogue(&rejected)?);
        }
        let prompt = vec![question(row)?];
        let (first, second) = (row.number("score_0")?, row.number("score_1")?);
        let (mut chosen, mut rejected) = (row.text("answer_0")?, row.text("answer_1")?);
        if first == second {
            return Ok(RowContent::Skip("tie"));
        }
        if second > first {
            (chosen, rejected) = (rejected, chosen);
        }
        Ok(RowContent::Comparison(Comparison { prompt, chosen, rejected, ..Comparison::default() }))
    }

    fn skipped_prompt(&self, row: Fields<'_>) -> Result<Vec<Message>, RowError> {
        if row.contains("question") { Ok(vec![question(row)?]) } else { Ok(Vec::new()) }
    }
}

fn question(row: Fields<'_>) -> Result<Message, RowError> {
    let question = row.object("question")?;
    Fields::new(&question).text("full_text").map(Message::user).map_err(|error| error.within("question"))
}
