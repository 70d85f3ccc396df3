//! Deserializes a row; an error names the field.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use serde::de::{DeserializeOwned, Deserializer};
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

    /// Deserializes a row whose fields have other names in the file.
    pub(super) fn decode_mapped<T: DeserializeOwned>(
        &self,
        mut row: Value,
        columns: &BTreeMap<String, String>,
    ) -> Result<T, Error> {
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
        self.decode(row)
    }

    /// Deserializes a row; an error names the field.
    pub(super) fn decode<'de, T, D>(&self, row: D) -> Result<T, Error>
    where
        T: DeserializeOwned,
        D: Deserializer<'de, Error: Display>,
    {
        decode(row).map_err(|(field, problem)| self.error(field, problem))
    }
}

/// Deserializes a row; the error is the field and what is wrong with it.
pub(crate) fn decode<'de, T, D>(row: D) -> Result<T, (Option<String>, Problem)>
where
    T: DeserializeOwned,
    D: Deserializer<'de, Error: Display>,
{
    serde_path_to_error::deserialize(row).map_err(|error| {
        let path = error.path().to_string();
        let (missing, problem) = problem(&without_position(&error.inner().to_string()));
        let field = match (path.as_str(), missing) {
            (".", missing) => missing,
            (path, Some(missing)) => Some(format!("{path}.{missing}")),
            (path, None) => Some(path.into()),
        };
        (field, problem)
    })
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
        match location.decode::<T, _>(&mut serde_json::Deserializer::from_str(json)).err() {
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
