//! JSON: an array of objects, or an object that gives each row its id.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::jsonl::BYTE_ORDER_MARK;
use super::row::Place;
use super::{Text, broken};
use crate::{Problem, Result};

/// The rows of a file that was read whole.
pub(super) struct Rows {
    rows: std::vec::IntoIter<Value>,
    row: u64,
}

impl Rows {
    pub(super) fn next<T: DeserializeOwned>(&mut self, path: &Path) -> Option<Result<T>> {
        let value = self.rows.next()?;
        self.row += 1;
        Some(Place { path, row: self.row, line: None }.decode(value))
    }
}

/// Reads the file.
pub(super) fn rows(path: &Path, mut text: Text, gz: bool) -> Result<Rows> {
    let mut bytes = Vec::new();
    text.read_to_end(&mut bytes).map_err(broken(path, gz, 0))?;
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);

    let mut rows = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = Collect(&mut rows).deserialize(&mut json).and_then(|doubled| json.end().map(|()| doubled));
    let place = |line| Place { path, row: rows.len() as u64 + 1, line };
    match parsed {
        Ok(None) => Ok(Rows { rows: rows.into_iter(), row: 0 }),
        Ok(Some(key)) => Err(place(None).error(None, Problem::DoubledKey(key))),
        // The parser stops at broken UTF-8 with a word that does not name it.
        Err(error) => Err(match std::str::from_utf8(bytes) {
            Err(utf8) => {
                let before = &bytes[..utf8.valid_up_to()];
                let line = before.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
                let column = before.len() - before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1) + 1;
                place(Some(line)).error(None, Problem::Utf8 { column })
            }
            Ok(_) if error.is_data() => place(None).error(None, Problem::Mismatch { expected: EXPECTED.into(), got: kind(bytes) }),
            Ok(_) => place(Some(error.line() as u64)).error(None, Problem::Syntax { message: error.to_string(), column: error.column() }),
        }),
    }
}

const EXPECTED: &str = "an array of objects, or an object of objects keyed by id";

/// What the file starts with, for an error.
fn kind(bytes: &[u8]) -> String {
    let start: String = String::from_utf8_lossy(bytes).trim_start().chars().take(20).collect();
    format!("`{start}`")
}

/// Puts rows into the list as they come, so that after an error the list tells how far it went. The value is a key
/// that stood twice, if there is one.
struct Collect<'a>(&'a mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
        while let Some(row) = rows.next_element()? {
            self.0.push(row);
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
        let mut ids = std::collections::HashSet::new();
        while let Some((id, mut row)) = rows.next_entry::<String, Value>()? {
            if !ids.insert(id.clone()) {
                return Ok(Some(id));
            }
            if let Value::Object(fields) = &mut row {
                fields.entry("id").or_insert(Value::String(id));
            }
            self.0.push(row);
        }
        Ok(None)
    }
}
