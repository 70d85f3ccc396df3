//! OpenAssistant's pairs: `prompt` (a dialogue marked with `prompter:` and `assistant:`), `chosen`,
//! `rejected`, `lang`. A comparison.

use super::dialogue::{parse_turns, without_empty_answer};
use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Oasst1Pairwise;

impl RowSource for Oasst1Pairwise {
    fn name(&self) -> &str {
        "oasst1-pairwise"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let prompt = parse_turns(&row.text("prompt")?, "prompter:", "assistant:")
            .map_err(|problem| RowError::rule("prompt", problem))?;
        let original_source = row.optional_text("lang")?;
        let (chosen, rejected) = (row.text("chosen")?, row.text("rejected")?);
        let prompt = without_empty_answer(prompt);
        Ok(RowContent::Comparison(Comparison {
            original_source,
            prompt,
            chosen,
            rejected,
            ..Comparison::default()
        }))
    }
}
