//! Fields of a row, and what is wrong with one.

use std::path::Path;

use janus_core::{Message, PreferenceSet, Role};
use serde_json::Value;

use crate::{Error, Problem, Row};

/// A row that is not what its source's rows are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field \"{field}\": {problem}")]
#[non_exhaustive]
pub struct RowError {
    /// The field, with its way through lists and objects.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl RowError {
    /// A field that is not there.
    pub fn missing(field: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Missing }
    }

    /// A field that is of another kind than needed.
    pub fn mismatch(field: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Mismatch { expected: expected.into(), got: got.into() } }
    }

    /// A field that breaks a rule, in the words of whoever checks it.
    pub fn rule(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Rule(problem.into()) }
    }

    /// The same error for a field within the object `outer`.
    pub fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), problem: self.problem }
    }

    /// As an error of a file's row, which is counted from 1.
    pub fn at(self, path: &Path, row: u64) -> Error {
        Error::Row { path: path.into(), row, line: None, field: Some(self.field), problem: self.problem }
    }
}

/// A value's kind, for an error.
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

/// An id: a text, or a whole number as its digits.
pub(super) fn whole_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The fields of a row, or of an object in it, by name and kind. Errors name the field.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a Row);

impl<'a> Fields<'a> {
    /// The fields of a row.
    pub fn new(row: &'a Row) -> Self {
        Self(row)
    }

    /// A field as it is.
    pub fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    /// Whether the row has a field, be it null.
    pub fn contains(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get(self, name: &str) -> Result<&'a Value, RowError> {
        self.0.get(name).filter(|value| !value.is_null()).ok_or_else(|| RowError::missing(name))
    }

    /// A text.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or of another kind.
    pub fn text(self, name: &str) -> Result<String, RowError> {
        let value = self.get(name)?;
        value.as_str().map(String::from).ok_or_else(|| RowError::mismatch(name, "a text", kind(value)))
    }

    /// A text; an absent field is an empty one.
    ///
    /// # Errors
    /// [`RowError`] if the field is of another kind.
    pub fn optional_text(self, name: &str) -> Result<String, RowError> {
        if self.0.get(name).is_none_or(Value::is_null) { Ok(String::new()) } else { self.text(name) }
    }

    /// The text under the first of several names that the row has.
    ///
    /// # Errors
    /// [`RowError`] if it has none of them, or the field is of another kind.
    pub fn first_text(self, names: &[&str]) -> Result<String, RowError> {
        let name = names.iter().find(|name| self.0.contains_key(**name)).or(names.first());
        self.text(name.copied().unwrap_or_default())
    }

    /// A number, also one in a text, as sheets hold them.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or no number.
    pub fn number(self, name: &str) -> Result<f64, RowError> {
        let value = self.get(name)?;
        // Sheets hold numbers as texts.
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.ok_or_else(|| RowError::mismatch(name, "a number", kind(value)))
    }

    /// An id: a text, or a whole number as its digits; an absent field is an empty one.
    ///
    /// # Errors
    /// [`RowError`] if the field is of another kind.
    pub fn id(self, name: &str) -> Result<String, RowError> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else { return Ok(String::new()) };
        whole_number(value).ok_or_else(|| RowError::mismatch(name, "a text or a whole number", kind(value)))
    }

    /// A list.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or of another kind.
    pub fn list(self, name: &str) -> Result<&'a [Value], RowError> {
        let value = self.get(name)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| RowError::mismatch(name, "a list", kind(value)))
    }

    /// The fields of an object.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or of another kind.
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

    /// A list of messages `{role, content}` or `{from, value}`, with the roles' names in use. A sheet's cell may hold it as JSON.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing, or one of its messages is none.
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

    /// One message; a text alone is the assistant's.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or no message.
    pub fn message(self, name: &str) -> Result<Message, RowError> {
        match self.get(name)? {
            // Some writers give the answer's text alone.
            Value::String(text) => Ok(Message::assistant(text.clone())),
            value => message(value, name),
        }
    }

    /// Earlier turns: `[[asked, answered], …]`; an absent field has none.
    ///
    /// # Errors
    /// [`RowError`] if a turn is not two texts.
    pub fn history(self, name: &str) -> Result<Vec<Message>, RowError> {
        if self.0.get(name).is_none_or(Value::is_null) {
            return Ok(Vec::new());
        }
        let mut messages = Vec::new();
        for (at, turn) in self.list(name)?.iter().enumerate() {
            let place = format!("{name}[{at}]");
            match turn.as_array().map(Vec::as_slice) {
                Some([Value::String(asked), Value::String(answered)]) => {
                    messages.extend([Message::user(asked.clone()), Message::assistant(answered.clone())]);
                }
                _ => return Err(RowError::mismatch(place, "two texts", kind(turn))),
            }
        }
        Ok(messages)
    }

    /// The better and the worse of `text` [2] by `score` [2]; `None` for a tie.
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

/// `{role, content}` or `{from, value}`, with the roles' names in use.
fn message(value: &Value, place: &str) -> Result<Message, RowError> {
    let Some(object) = value.as_object() else { return Err(RowError::mismatch(place, "a message", kind(value))) };
    let fields = Fields(object);
    let (role_name, content_name) = if object.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let named = fields.text(role_name).map_err(|error| error.within(place))?;
    let role = match named.as_str() {
        "system" => Role::System,
        "user" | "human" | "prompter" => Role::User,
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Role::Assistant,
        other => return Err(RowError::mismatch(format!("{place}.{role_name}"), "system, user or assistant", other)),
    };
    Ok(Message { role, content: fields.text(content_name).map_err(|error| error.within(place))? })
}
