//! Self-Instruct's user-oriented set: `id`, `instruction`, `instances[0]` {`input`, `output`},
//! `motivation_app`. A conversation.

use serde_json::Value;

use super::content::{joined, turns};
use super::{Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct SelfInstruct;

impl RowSource for SelfInstruct {
    fn name(&self) -> &str {
        "self-instruct"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let instances = row.list("instances")?;
        let Some(instance) = instances.first().and_then(Value::as_object) else {
            return Err(RowError::mismatch("instances", "a list of objects", "none"));
        };
        let within = |name| Fields::new(instance).text(name).map_err(|error| error.within("instances[0]"));
        let original_source = row.optional_text("motivation_app")?;
        let prompt = joined(&row.text("instruction")?, &within("input")?);
        Ok(RowContent::conversation(original_source, turns("", &prompt, &within("output")?)))
    }
}
