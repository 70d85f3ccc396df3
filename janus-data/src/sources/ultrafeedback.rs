//! UltraFeedback, binarised. Fields: `prompt`, `chosen` and `rejected` (lists of messages), `source`.
//! Each row becomes a [`Comparison`].

use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct UltraFeedback;

impl RowSource for UltraFeedback {
    fn name(&self) -> &str {
        "ultrafeedback"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let pair = Comparison::of(row.messages("chosen")?, row.messages("rejected")?)?;
        Ok(RowContent::Comparison(Comparison { original_source: row.optional_text("source")?, ..pair }))
    }
}
