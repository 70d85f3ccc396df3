//! MT-Bench: `question_id`, `category`, `turns`; only the first turn is read. An instruction.

use serde_json::Value;

use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct MtBench;

impl RowSource for MtBench {
    fn name(&self) -> &str {
        "mt-bench"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let turns = row.list("turns")?;
        let Some(first) = turns.first().and_then(Value::as_str) else {
            return Err(RowError::mismatch("turns", "a list of strings", "a list without a string"));
        };
        Ok(RowContent::instruction(row.id("question_id")?, first, row.optional_text("category")?))
    }
}
