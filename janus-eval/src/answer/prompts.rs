//! Makes tasks from the rows of any file.

use std::collections::HashMap;

use janus_core::{Composer, SamplingParams, Taxonomy, derive_seed, stream};
use serde_json::{Map, Value};

use super::Task;
use crate::{Error, Result};

/// A row with any fields.
type Prompt = Map<String, Value>;

/// The names of the fields that are read from a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptFields {
    /// The system message. A row without this field has no system message.
    pub system: String,
    /// The user's message: a string, or a list of strings, whose first is used.
    pub user: String,
    /// The row's id. A row without this field has its `question_id`, or else its number, from 1.
    pub id: String,
}

impl Default for PromptFields {
    /// `system`, `prompt` and `id`.
    fn default() -> Self {
        Self { system: "system".into(), user: "prompt".into(), id: "id".into() }
    }
}

/// What is wrong with a row of prompts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptProblem {
    /// Two rows with the same id.
    #[error("\"{id}\" is the id of row {first} too: ids must differ")]
    SameId {
        /// The id.
        id: String,
        /// The other row, from 1.
        first: usize,
    },
    /// No user's message.
    #[error("expected the user's message, got nothing")]
    NoMessage,
    /// A value of another type.
    #[error("expected {expected}, got {got}")]
    Type {
        /// The allowed types.
        expected: &'static str,
        /// The type found.
        got: &'static str,
    },
}

/// The field with the id of a row without [`PromptFields::id`]: MT-Bench's.
const SECOND_ID_FIELD: &str = "question_id";

/// Makes a task of each row.
///
/// With `compose_system` the system message of a row is composed from a preference set drawn from the
/// seed taxonomy. It depends only on the sampling seed and the row's id.
///
/// # Errors
/// [`Error::Prompts`].
pub fn tasks_of_rows(
    rows: &[Map<String, Value>],
    fields: &PromptFields,
    sampling: &SamplingParams,
    compose_system: bool,
) -> Result<Vec<Task>> {
    let mut first_with: HashMap<String, usize> = HashMap::new();
    let mut tasks = Vec::with_capacity(rows.len());
    for (index, prompt) in rows.iter().enumerate() {
        let row = index + 1;
        let at =
            |(field, problem): (&str, PromptProblem)| Error::Prompts { row, field: field.into(), problem };
        let id = id(prompt, &fields.id, row).map_err(at)?;
        if let Some(first) = first_with.insert(id.clone(), row) {
            return Err(at((&fields.id, PromptProblem::SameId { id, first })));
        }
        let user = match text(prompt, &fields.user).map_err(at)? {
            Some(user) if !user.trim().is_empty() => user,
            _ => return Err(at((&fields.user, PromptProblem::NoMessage))),
        };
        let system = if compose_system {
            Some(composed(sampling.seed, &id)?)
        } else {
            text(prompt, &fields.system).map_err(at)?
        };
        tasks.push(Task {
            system: system.filter(|system| !system.is_empty()),
            ..Task::new(id, user, sampling.clone())
        });
    }
    Ok(tasks)
}

/// The row's id as a text: the given field, else `question_id`, else the row's number.
fn id<'a>(row: &Prompt, field: &'a str, number: usize) -> Result<String, (&'a str, PromptProblem)> {
    let (field, value) = match (present(row, field), present(row, SECOND_ID_FIELD)) {
        (Some(value), _) => (field, value),
        (None, Some(value)) => (SECOND_ID_FIELD, value),
        (None, None) => return Ok(number.to_string()),
    };
    match value {
        Value::String(id) if !id.is_empty() => Ok(id.clone()),
        Value::Number(id) => Ok(id.to_string()),
        other => Err((field, PromptProblem::Type { expected: "a string or a number", got: kind(other) })),
    }
}

/// A field's text, or the first text of its list; `None` if the field is absent or null.
fn text<'a>(row: &Prompt, field: &'a str) -> Result<Option<String>, (&'a str, PromptProblem)> {
    let value = match present(row, field) {
        Some(Value::Array(list)) => match list.first() {
            Some(first) => first,
            None => return Err((field, PromptProblem::Type { expected: "a string", got: "an empty list" })),
        },
        Some(value) => value,
        None => return Ok(None),
    };
    match value {
        Value::String(text) => Ok(Some(text.clone())),
        other => {
            Err((field, PromptProblem::Type { expected: "a string or a list of strings", got: kind(other) }))
        }
    }
}

/// A field's value; `None` for null, which columnar files have for absent values.
fn present<'a>(row: &'a Prompt, field: &str) -> Option<&'a Value> {
    row.get(field).filter(|value| !value.is_null())
}

fn composed(seed: u64, id: &str) -> Result<String> {
    let purpose = format!("system/{id}");
    let set = Taxonomy::seed().sample(&mut stream(seed, &purpose))?;
    Ok(Composer::standard().compose_set(&set, derive_seed(seed, &purpose)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use janus_core::Message;
    use serde_json::json;

    use super::*;

    fn made(rows: Value, compose_system: bool) -> Result<Vec<Task>, String> {
        let rows: Vec<Prompt> = serde_json::from_value(rows).unwrap();
        tasks_of_rows(&rows, &PromptFields::default(), &SamplingParams::default(), compose_system)
            .map_err(|error| error.to_string())
    }

    fn ids(rows: Value) -> Vec<String> {
        made(rows, false).unwrap().into_iter().map(|task| task.id).collect()
    }

    #[test]
    fn ids_are_texts_numbers_question_ids_or_row_numbers() {
        let rows = json!([{"id": "a", "prompt": "x"}, {"id": 81, "prompt": "x"}, {"question_id": 7, "prompt": "x"},
            {"id": null, "question_id": "q", "prompt": "x"}, {"prompt": "x"}]);
        assert_eq!(ids(rows), ["a", "81", "7", "q", "5"]);
    }

    #[test]
    fn messages_are_the_system_message_if_present_and_the_first_user_message() {
        let rows = json!([{"system": "S", "prompt": ["one", "two"]}, {"system": "", "prompt": "x"}, {"system": null, "prompt": "x"}]);
        let messages: Vec<_> =
            made(rows, false).unwrap().into_iter().map(|task| task.request(&[]).unwrap().messages).collect();
        assert_eq!(messages[0], [Message::system("S"), Message::user("one")]);
        assert_eq!(messages[1], [Message::user("x")]);
        assert_eq!(messages[1], messages[2]);
    }

    #[test]
    fn errors_name_the_row_and_the_field() {
        for (rows, expected) in [
            (
                json!([{"prompt": "x"}, {"prompt": 3}]),
                r#"row 2, field "prompt": expected a string or a list of strings, got a number"#,
            ),
            (json!([{"prompt": []}]), r#"row 1, field "prompt": expected a string, got an empty list"#),
            (json!([{"text": "x"}]), r#"row 1, field "prompt": expected the user's message, got nothing"#),
            (
                json!([{"id": true, "prompt": "x"}]),
                r#"row 1, field "id": expected a string or a number, got a boolean"#,
            ),
            (
                json!([{"id": 1, "prompt": "x"}, {"id": "1", "prompt": "x"}]),
                r#"row 2, field "id": "1" is the id of row 1 too: ids must differ"#,
            ),
            (
                json!([{"system": {}, "prompt": "x"}]),
                r#"row 1, field "system": expected a string or a list of strings, got an object"#,
            ),
        ] {
            assert_eq!(made(rows, false).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_composed_system_message_depends_on_the_id_and_not_on_other_rows() {
        let both = made(json!([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x"}]), true).unwrap();
        let alone = made(json!([{"id": "b", "prompt": "x", "system": "written"}]), true).unwrap();
        assert_eq!(both[1], alone[0]);
        assert_ne!(both[0].system, both[1].system);
    }
}
