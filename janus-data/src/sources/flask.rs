//! FLASK: `idx`, `instruction`, `answer`, `task`. A conversation.

use super::content::turns;
use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Flask;

impl RowSource for Flask {
    fn name(&self) -> &str {
        "flask"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        Ok(RowContent::conversation(
            row.text("task")?,
            turns("", &row.text("instruction")?, &row.text("answer")?),
        ))
    }
}
