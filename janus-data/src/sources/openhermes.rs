//! OpenHermesPreferences: `prompt`, `chosen`, `rejected` (messages), `source`. A comparison.

use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct OpenHermes;

impl RowSource for OpenHermes {
    fn name(&self) -> &str {
        "openhermes"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let pair = Comparison::of(row.messages("chosen")?, row.messages("rejected")?)?;
        Ok(RowContent::Comparison(Comparison { original_source: row.optional_text("source")?, ..pair }))
    }
}
