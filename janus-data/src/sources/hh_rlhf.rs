//! HH-RLHF: `chosen` and `rejected`, dialogues marked with `Human:` and `Assistant:`; or lists `text` and
//! `score` of two elements, of which ties are skipped. A comparison.

use super::dialogue::transcript;
use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct HhRlhf;

impl RowSource for HhRlhf {
    fn name(&self) -> &str {
        "hh-rlhf"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let (chosen, rejected) = if row.contains("text") {
            let Some(pair) = row.scored()? else { return Ok(RowContent::Skip("tie")) };
            pair
        } else {
            (row.text("chosen")?, row.text("rejected")?)
        };
        let dialogue = |name, text: &str| transcript(text).map_err(|problem| RowError::rule(name, problem));
        RowContent::of_dialogues(dialogue("chosen", &chosen)?, dialogue("rejected", &rejected)?)
    }
}
