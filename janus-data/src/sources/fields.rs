//! Access to the fields of a row, with errors that name the field.

use std::path::Path;

use janus_core::{Message, PreferenceSet, Role};
use serde_json::Value;

use crate::{Error, Problem, Row};

/// A row that does not have the layout of its source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field \"{field}\": {problem}")]
#[non_exhaustive]
pub struct RowError {
    /// The field, with its path through lists and objects.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl RowError {
    /// A missing field.
    pub fn missing(field: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Missing }
    }

    /// A field of the wrong type.
    pub fn mismatch(field: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Mismatch { expected: expected.into(), got: got.into() } }
    }

    /// A field that breaks a rule, which `problem` states.
    pub fn rule(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Rule(problem.into()) }
    }

    /// The same error for a field within the object `outer`.
    pub fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), problem: self.problem }
    }

    /// Converts to an error of a row of a file, counted from 1.
    pub fn at(self, path: &Path, row: u64) -> Error {
        Error::Row { path: path.into(), row, line: None, field: Some(self.field), problem: self.problem }
    }
}

/// The type of a value, for errors.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An id: a text, or the digits of a whole number.
pub(super) fn whole_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The fields of a row, or of an object in it, read by name and type. Errors name the field.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a Row);

impl<'a> Fields<'a> {
    /// The fields of a row.
    pub fn new(row: &'a Row) -> Self {
        Self(row)
    }

    /// The value of a field.
    pub fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    /// Whether the row has a field, even if it is null.
    pub fn contains(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get(self, name: &str) -> Result<&'a Value, RowError> {
        self.0.get(name).filter(|value| !value.is_null()).ok_or_else(|| RowError::missing(name))
    }

    /// A text.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or has another type.
    pub fn text(self, name: &str) -> Result<String, RowError> {
        let value = self.get(name)?;
        value.as_str().map(String::from).ok_or_else(|| RowError::mismatch(name, "a text", kind(value)))
    }

    /// A text; an absent field gives an empty text.
    ///
    /// # Errors
    /// [`RowError`] if the field has another type.
    pub fn optional_text(self, name: &str) -> Result<String, RowError> {
        if self.0.get(name).is_none_or(Value::is_null) { Ok(String::new()) } else { self.text(name) }
    }

    /// The text under the first of several names that the row has.
    ///
    /// # Errors
    /// [`RowError`] if it has none of them, or the field has another type.
    pub fn first_text(self, names: &[&str]) -> Result<String, RowError> {
        let name = names.iter().find(|name| self.0.contains_key(**name)).or(names.first());
        self.text(name.copied().unwrap_or_default())
    }

    /// A number, or a text that contains a number, as in spreadsheets.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or not a number.
    pub fn number(self, name: &str) -> Result<f64, RowError> {
        let value = self.get(name)?;
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.ok_or_else(|| RowError::mismatch(name, "a number", kind(value)))
    }

    /// An id: a text, or the digits of a whole number; an absent field gives an empty id.
    ///
    /// # Errors
    /// [`RowError`] if the field has another type.
    pub fn id(self, name: &str) -> Result<String, RowError> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else { return Ok(String::new()) };
        whole_number(value).ok_or_else(|| RowError::mismatch(name, "a text or a whole number", kind(value)))
    }

    /// A list.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or has another type.
    pub fn list(self, name: &str) -> Result<&'a [Value], RowError> {
        let value = self.get(name)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| RowError::mismatch(name, "a list", kind(value)))
    }

    /// The fields of an object.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or has another type.
    pub fn object(self, name: &str) -> Result<Self, RowError> {
        let value = self.get(name)?;
        value.as_object().map(Self).ok_or_else(|| RowError::mismatch(name, "an object", kind(value)))
    }

    /// A complete preference set, if the row has one.
    pub(super) fn preference_set(self, name: &str) -> Result<Option<PreferenceSet>, RowError> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        let wrong = |problem: String| RowError::mismatch(name, "four preferences, one of each dimension", problem);
        let set: PreferenceSet = serde_json::from_value(value.clone()).map_err(|error| wrong(error.to_string()))?;
        set.complete().map_err(|error| wrong(error.to_string()))?;
        Ok(Some(set))
    }

    /// A list of messages `{role, content}` or `{from, value}`, with the usual names of roles. The cell of a spreadsheet may contain
    /// the list as JSON.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or an element is not a message.
    pub fn messages(self, name: &str) -> Result<Vec<Message>, RowError> {
        let parsed: Value;
        let list = match self.get(name)? {
            Value::String(cell) => {
                parsed = serde_json::from_str(cell).map_err(|_| RowError::mismatch(name, "a list of messages", "a text"))?;
                parsed.as_array().ok_or_else(|| RowError::mismatch(name, "a list of messages", kind(&parsed)))?
            }
            value => value.as_array().ok_or_else(|| RowError::mismatch(name, "a list of messages", kind(value)))?,
        };
        list.iter().enumerate().map(|(at, value)| message(value, &format!("{name}[{at}]"))).collect()
    }

    /// One message; a plain text is the assistant's.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or not a message.
    pub fn message(self, name: &str) -> Result<Message, RowError> {
        match self.get(name)? {
            // Some writers store only the text of the answer.
            Value::String(text) => Ok(Message::assistant(text.clone())),
            value => message(value, name),
        }
    }

    /// Earlier turns, `[[user, assistant], …]`; an absent field gives none.
    ///
    /// # Errors
    /// [`RowError`] if a turn is not two texts.
    pub fn history(self, name: &str) -> Result<Vec<Message>, RowError> {
        if self.0.get(name).is_none_or(Value::is_null) {
            return Ok(Vec::new());
        }
        let mut messages = Vec::new();
        for (at, turn) in self.list(name)?.iter().enumerate() {
            let path = format!("{name}[{at}]");
            match turn.as_array().map(Vec::as_slice) {
                Some([Value::String(user), Value::String(assistant)]) => {
                    messages.extend([Message::user(user.clone()), Message::assistant(assistant.clone())]);
                }
                _ => return Err(RowError::mismatch(path, "two texts", kind(turn))),
            }
        }
        Ok(messages)
    }

    /// The better and the worse of the two texts of `text`, by the two numbers of `score`; `None` for a tie.
    pub(super) fn scored(self) -> Result<Option<(String, String)>, RowError> {
        let ([Value::String(first), Value::String(second)], [one, other]) = (self.list("text")?, self.list("score")?) else {
            return Err(RowError::mismatch("text", "two texts with two scores", "something else"));
        };
        let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) else {
            return Err(RowError::mismatch("score", "two numbers", "something else"));
        };
        Ok(match one.total_cmp(&other) {
            std::cmp::Ordering::Greater => Some((first.clone(), second.clone())),
            std::cmp::Ordering::Less => Some((second.clone(), first.clone())),
            std::cmp::Ordering::Equal => None,
        })
    }
}

/// Reads `{role, content}` or `{from, value}`, with the usual names of roles.
fn message(value: &Value, path: &str) -> Result<Message, RowError> {
    let Some(object) = value.as_object() else { return Err(RowError::mismatch(path, "a message", kind(value))) };
    let fields = Fields(object);
    let (role_name, content_name) = if object.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let named = fields.text(role_name).map_err(|error| error.within(path))?;
    let role = match named.as_str() {
        "system" => Role::System,
        "user" | "human" | "prompter" => Role::User,
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Role::Assistant,
        other => return Err(RowError::mismatch(format!("{path}.{role_name}"), "system, user or assistant", other)),
    };
    Ok(Message { role, content: fields.text(content_name).map_err(|error| error.within(path))? })
}
