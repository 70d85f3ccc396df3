//! Koala's test set: `id`, `prompt`. An instruction.

use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Koala;

impl RowSource for Koala {
    fn name(&self) -> &str {
        "koala"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        Ok(RowContent::instruction(row.id("id")?, row.text("prompt")?, ""))
    }
}
