//! AlpacaEval: `index`, `instruction`, `dataset`, `reference_output`. A conversation.

use super::content::turns;
use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct AlpacaEval;

impl RowSource for AlpacaEval {
    fn name(&self) -> &str {
        "alpaca-eval"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let original_source = row.optional_text("dataset")?;
        let messages =
            turns("", &row.text("instruction")?, &row.first_text(&["reference_output", "output"])?);
        Ok(RowContent::conversation(original_source, messages))
    }
}
