//! Rows of any file as tasks for a model.

use std::collections::HashMap;
use std::path::Path;

use janus_core::{Composer, SamplingParams, Taxonomy, derive_seed, stream};
use janus_eval::bench::Task;
use serde_json::{Map, Value};

use crate::command::{Blame as _, CommandError};

/// A row of the input, of whatever fields it has.
pub type Row = Map<String, Value>;

/// Which fields of a row are read.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The system message; a row without it has none.
    pub system: String,
    /// The user's message: a text, or a list of which the first is taken.
    pub user: String,
    /// What names the row.
    pub id: String,
}

/// Which field names a row that has none of the asked name (MT-Bench).
const SECOND_ID_KEY: &str = "question_id";

/// Makes a task of each row.
///
/// With `compose_system` the system message of a row is composed from a preference set drawn from the
/// seed taxonomy; it depends on the sampling seed and the row's id only.
///
/// # Errors
/// Bad input that names the file, the row (from 1) and the field.
pub fn tasks(path: &Path, rows: &[Row], keys: &Keys, sampling: &SamplingParams, compose_system: bool) -> Result<Vec<Task>, CommandError> {
    let mut first_with: HashMap<String, usize> = HashMap::new();
    let mut tasks = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let number = index + 1;
        let at = |problem: String| CommandError::bad_input(format!("{}, row {number}, {problem}", path.display()));
        let id = id(row, &keys.id, number).map_err(at)?;
        if let Some(first) = first_with.insert(id.clone(), number) {
            return Err(at(format!("field \"{}\": \"{id}\" is the id of row {first} too: ids must differ", keys.id)));
        }
        let user = match text(row, &keys.user).map_err(at)? {
            Some(user) if !user.trim().is_empty() => user,
            _ => return Err(at(format!("field \"{}\": expected the user's message, got nothing (see --user-key)", keys.user))),
        };
        let system = if compose_system { Some(compose(sampling.seed, &id).failure()?) } else { text(row, &keys.system).map_err(at)? };
        tasks.push(Task { system: system.filter(|system| !system.is_empty()), ..Task::new(id, user, sampling.clone()) });
    }
    Ok(tasks)
}

/// The row's id as a text: its own, else its `question_id`, else its number.
fn id(row: &Row, key: &str, number: usize) -> Result<String, String> {
    let (key, value) = match (present(row, key), present(row, SECOND_ID_KEY)) {
        (Some(value), _) => (key, value),
        (None, Some(value)) => (SECOND_ID_KEY, value),
        (None, None) => return Ok(number.to_string()),
    };
    match value {
        Value::String(id) if !id.is_empty() => Ok(id.clone()),
        Value::Number(id) => Ok(id.to_string()),
        other => Err(format!("field \"{key}\": expected a text or a number, got {}", kind(other))),
    }
}

/// A field's text, or the first text of its list; none if the field is absent or null.
fn text(row: &Row, key: &str) -> Result<Option<String>, String> {
    let value = match present(row, key) {
        Some(Value::Array(list)) => match list.first() {
            Some(first) => first,
            None => return Err(format!("field \"{key}\": expected a text, got an empty list")),
        },
        Some(value) => value,
        None => return Ok(None),
    };
    match value {
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(format!("field \"{key}\": expected a text or a list of texts, got {}", kind(other))),
    }
}

/// A field's value; a null, which columnar files put where there is nothing, is no value.
fn present<'a>(row: &'a Row, key: &str) -> Option<&'a Value> {
    row.get(key).filter(|value| !value.is_null())
}

fn compose(seed: u64, id: &str) -> janus_core::Result<String> {
    let purpose = format!("system/{id}");
    let set = Taxonomy::seed().sample(&mut stream(seed, &purpose))?;
    Ok(Composer::standard().compose_set(&set, derive_seed(seed, &purpose)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(_) => "a text",
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
        let rows: Vec<Row> = serde_json::from_value(rows).unwrap();
        let keys = Keys { system: "system".into(), user: "prompt".into(), id: "id".into() };
        tasks(Path::new("in.jsonl"), &rows, &keys, &SamplingParams::default(), compose_system).map_err(|error| error.to_string())
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
    fn messages_are_the_system_text_if_any_and_the_first_user_text() {
        let rows = json!([{"system": "S", "prompt": ["one", "two"]}, {"system": "", "prompt": "x"}, {"system": null, "prompt": "x"}]);
        let messages: Vec<_> = made(rows, false).unwrap().into_iter().map(|task| task.request(&[]).unwrap().messages).collect();
        assert_eq!(messages[0], [Message::system("S"), Message::user("one")]);
        assert_eq!(messages[1], [Message::user("x")]);
        assert_eq!(messages[1], messages[2]);
    }

    #[test]
    fn bad_rows_are_named_with_file_row_and_field() {
        for (rows, expected) in [
            (
                json!([{"prompt": "x"}, {"prompt": 3}]),
                r#"in.jsonl, row 2, field "prompt": expected a text or a list of texts, got a number"#,
            ),
            (json!([{"prompt": []}]), r#"in.jsonl, row 1, field "prompt": expected a text, got an empty list"#),
            (json!([{"text": "x"}]), r#"in.jsonl, row 1, field "prompt": expected the user's message, got nothing (see --user-key)"#),
            (json!([{"id": true, "prompt": "x"}]), r#"in.jsonl, row 1, field "id": expected a text or a number, got a truth value"#),
            (
                json!([{"id": 1, "prompt": "x"}, {"id": "1", "prompt": "x"}]),
                r#"in.jsonl, row 2, field "id": "1" is the id of row 1 too: ids must differ"#,
            ),
            (
                json!([{"system": {}, "prompt": "x"}]),
                r#"in.jsonl, row 1, field "system": expected a text or a list of texts, got an object"#,
            ),
        ] {
            assert_eq!(made(rows, false).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_composed_system_message_depends_on_the_id_and_not_on_the_neighbours() {
        let both = made(json!([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x"}]), true).unwrap();
        let alone = made(json!([{"id": "b", "prompt": "x", "system": "written"}]), true).unwrap();
        assert_eq!(both[1], alone[0]);
        assert_ne!(both[0].system, both[1].system);
    }
}
