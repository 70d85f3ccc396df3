//! The fields of rows that a source does not read: those that would change what is learned are refused, the
//! others are counted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{RowContent, RowError, RowSource};
use crate::Row;

const TEXTS: [&str; 5] = ["system", "system_prompt", "instruction", "input", "history"];
const TOOLS: [&str; 2] = ["tools", "functions"];
const MEDIA: [&str; 6] = ["image", "images", "audio", "audios", "video", "videos"];

/// Whether a field that is not read would change what is learned from its row.
pub(crate) fn changes_what_is_learned(field: &str) -> bool {
    [&TEXTS[..], &TOOLS, &MEDIA].iter().any(|fields| fields.contains(&field))
}

/// Whether a value says nothing: null, or a list, an object or a text without content.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Fields that have a value but are not read, and the number of rows that have each. A field of the messages
/// in a list is named `messages[].name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UnreadFields(BTreeMap<String, u64>);

impl UnreadFields {
    /// Whether every field is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields and their numbers of rows, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(field, rows)| (field.as_str(), *rows))
    }

    pub(super) fn remove(&mut self, field: &str) {
        self.0.remove(field);
    }

    pub(super) fn add_all(&mut self, others: Self) {
        for (field, rows) in others.0 {
            *self.0.entry(field).or_default() += rows;
        }
    }

    /// Counts a row that has the field.
    pub fn add(&mut self, field: &str) {
        *self.0.entry(field.into()).or_default() += 1;
    }
}

impl std::fmt::Display for UnreadFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<String> = self.iter().map(|(field, rows)| format!("{field} ({rows})")).collect();
        f.write_str(&fields.join(", "))
    }
}

/// Which fields of a row were read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// A bit for each field, in the order of the row; later fields have none and count as read.
    fields: Cell<u128>,
    /// Fields of messages that are not read.
    in_messages: RefCell<BTreeSet<String>>,
}

impl Seen {
    pub(super) fn read(&self, row: &Row, name: &str) {
        if let Some(at) = row.keys().position(|key| key == name).filter(|at| *at < 128) {
            self.fields.set(self.fields.get() | 1 << at);
        }
    }

    pub(super) fn unread_in_messages(&self, field: String) {
        self.in_messages.borrow_mut().insert(field);
    }

    /// The fields of the row that have a value and were not read.
    fn unread<'r>(&self, row: &'r Row) -> impl Iterator<Item = (&'r str, &'r Value)> {
        let read = self.fields.get();
        row.iter()
            .take(128)
            .enumerate()
            .filter(move |(at, (_, value))| read & (1 << at) == 0 && !is_empty(value))
            .map(|(_, (name, value))| (name.as_str(), value))
    }

    /// Counts the fields that were not read. The content is skipped if one of them says that it is unwanted.
    ///
    /// # Errors
    /// [`RowError`] for a field that would change what is learned.
    pub(super) fn account(
        self,
        source: &(impl RowSource + ?Sized),
        row: &Row,
        content: RowContent,
        fields: &mut UnreadFields,
    ) -> Result<RowContent, RowError> {
        let mut unwanted = None;
        for (name, value) in self.unread(row) {
            match (name, value) {
                (name, _) if TEXTS.contains(&name) => {
                    let problem = format!(
                        "the layout {} does not read this field: name a layout that does, map the column to a field that is read, or remove it",
                        source.name()
                    );
                    return Err(RowError::rule(name, problem));
                }
                (name, _) if TOOLS.contains(&name) => {
                    return Err(RowError::rule(
                        name,
                        "descriptions of tools cannot be trained: remove the field, or write them into the system message",
                    ));
                }
                (name, _) if MEDIA.contains(&name) => {
                    return Err(RowError::rule(
                        name,
                        "only text can be trained: remove the row or the field",
                    ));
                }
                ("label" | "kto_tag", Value::Bool(false)) => unwanted = Some("labelled as unwanted"),
                ("weight", Value::Number(weight)) if weight.as_f64() == Some(1.0) => {}
                ("weight", Value::Number(weight)) if weight.as_f64() == Some(0.0) => {
                    unwanted = Some("of weight 0");
                }
                ("weight", Value::Number(weight)) => {
                    let expected = "0 or 1, because all rows weigh the same";
                    return Err(RowError::mismatch(name, expected, weight.to_string()));
                }
                _ => fields.add(name),
            }
        }
        for name in self.in_messages.into_inner() {
            fields.add(&name);
        }
        Ok(unwanted.map_or(content, RowContent::Skip))
    }
}
