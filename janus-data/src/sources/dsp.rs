//! Domain-specific preferences: `query`, `responses` {domain: text}, which are not ranked. An instruction.

use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Dsp;

impl RowSource for Dsp {
    fn name(&self) -> &str {
        "dsp"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        Ok(RowContent::instruction("", row.text("query")?, ""))
    }
}
