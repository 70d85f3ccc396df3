//! Deserializes a row; an error names the field.

use std::collections::BTreeMap;
use std::path::Path;

use erased_serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Problem};

/// A row of any layout.
pub type Row = serde_json::Map<String, Value>;

/// The location of a row.
pub(super) struct Location<'a> {
    pub(super) path: &'a Path,
    /// The row, from 1.
    pub(super) row: u64,
    /// The line, from 1, if rows are lines.
    pub(super) line: Option<u64>,
}

impl Location<'_> {
    pub(super) fn error(&self, field: Option<String>, problem: Problem) -> Error {
        Error::Row { path: self.path.into(), row: self.row, line: self.line, field, problem }
    }

    /// Deserializes a row into `slot`; an error names the field.
    pub(super) fn decode<'de>(
        &self,
        row: impl serde::Deserializer<'de>,
        slot: &mut dyn Slot,
    ) -> Result<(), Error> {
        slot.fill(&mut <dyn Deserializer<'_>>::erase(row))
            .map_err(|(field, problem)| self.error(field, problem))
    }

    /// Deserializes a row whose fields have other names in the file.
    pub(super) fn decode_mapped(
        &self,
        mut row: Value,
        columns: &BTreeMap<String, String>,
        slot: &mut dyn Slot,
    ) -> Result<(), Error> {
        let found: Vec<(&String, Option<Value>)> = columns
            .iter()
            .map(|(field, column)| match column.starts_with('/') {
                true => (field, row.pointer(column).cloned()),
                false => (field, row.get(column).cloned()),
            })
            .collect();
        if let Value::Object(fields) = &mut row {
            for column in columns.values() {
                fields.remove(column);
            }
            for (field, value) in found {
                fields.remove(field);
                fields.extend(value.map(|value| (field.clone(), value)));
            }
        }
        self.decode(row, slot)
    }
}

/// What is wrong with a row: the field, with its path through lists and objects, and the problem.
pub(crate) type Fault = (Option<String>, Problem);

/// Where a row goes. It hides the type of the row from the readers, so that they are compiled once and not
/// for each type.
pub(super) trait Slot {
    /// Deserializes the row and keeps it.
    fn fill(&mut self, row: &mut dyn Deserializer<'_>) -> Result<(), Fault>;
}

impl<T: DeserializeOwned> Slot for Option<T> {
    fn fill(&mut self, row: &mut dyn Deserializer<'_>) -> Result<(), Fault> {
        *self = Some(decode(row)?);
        Ok(())
    }
}

/// Deserializes a row. The deserializer is erased, so that a type is compiled for one deserializer and not
/// for each format.
pub(crate) fn decode<T: DeserializeOwned>(row: &mut dyn Deserializer<'_>) -> Result<T, Fault> {
    serde_path_to_error::deserialize(row)
        .map_err(|error| fault(&error.path().to_string(), &error.inner().to_string()))
}

fn fault(path: &str, message: &str) -> Fault {
    let (missing, problem) = problem(&without_position(message));
    let field = match (path, missing) {
        (".", missing) => missing,
        (path, Some(missing)) => Some(format!("{path}.{missing}")),
        (path, None) => Some(path.into()),
    };
    (field, problem)
}

/// Parses a message of serde into the name of a missing field and the problem.
fn problem(message: &str) -> (Option<String>, Problem) {
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return (Some(field.into()), Problem::Missing);
    }
    let kinds = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
    let mismatch = kinds.iter().find_map(|kind| message.strip_prefix(kind)?.split_once(", expected "));
    match mismatch {
        Some((got, expected)) => (None, Problem::Mismatch { expected: expected.into(), got: got.into() }),
        None => (None, Problem::Rule(message.into())),
    }
}

/// Removes the position that serde_json appends to its messages. It is a position in the row, not in the
/// file.
pub(super) fn without_position(message: &str) -> String {
    let cut = message.rfind(" at line ").filter(|&at| message[at..].contains(" column "));
    message[..cut.unwrap_or(message.len())].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails<T: DeserializeOwned>(json: &str) -> (Option<String>, Problem) {
        let location = Location { path: Path::new("x.jsonl"), row: 7, line: None };
        match location.decode(&mut serde_json::Deserializer::from_str(json), &mut None::<T>).err() {
            Some(Error::Row { row: 7, field, problem, .. }) => (field, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_missing_field_is_named_with_its_path() {
        let messages = r#"{"system":"","prompt":"","chosen":[{"role":"user","content":""},{"content":""}],"rejected":[]}"#;
        assert_eq!(
            fails::<janus_core::PairRecord>(messages),
            (Some("chosen[1].role".into()), Problem::Missing)
        );
        assert_eq!(fails::<janus_core::RewardRecord>("{}"), (Some("input".into()), Problem::Missing));
    }

    #[test]
    fn a_wrong_type_names_expected_and_got() {
        let (field, problem) = fails::<janus_core::RewardRecord>(r#"{"input":3}"#);
        assert_eq!(field.as_deref(), Some("input"));
        assert_eq!(problem, Problem::Mismatch { expected: "a string".into(), got: "integer `3`".into() });
    }

    #[test]
    fn a_row_that_is_not_an_object_has_no_field() {
        assert_eq!(fails::<janus_core::RewardRecord>("3").0, None);
    }
}
