//! Fields of a row, and what is wrong with one.

use std::path::Path;

use janus_core::{Message, PreferenceSet, Role};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{RowError, Taken};
use crate::{Error, Problem, Row};

/// Makes [`RowError`]s.
pub(super) struct FieldError;

impl FieldError {
    pub(super) fn missing(field: &str) -> RowError {
        RowError { field: field.into(), problem: Problem::Missing }
    }

    pub(super) fn mismatch(field: &str, expected: &str, got: &str) -> RowError {
        RowError { field: field.into(), problem: Problem::Mismatch { expected: expected.into(), got: got.into() } }
    }

    pub(super) fn rule(field: &str, problem: String) -> RowError {
        RowError { field: field.into(), problem: Problem::Rule(problem) }
    }
}

impl RowError {
    /// As an error of a file's row, which is counted from 1.
    pub fn at(self, path: &Path, row: u64) -> Error {
        Error::Row { path: path.into(), row, line: None, field: Some(self.field), problem: self.problem }
    }

    /// The same within an object.
    pub(super) fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), problem: self.problem }
    }
}

/// A value's kind, for an error.
fn kind(value: &Value) -> &'static str {
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

#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Row);

impl<'a> Fields<'a> {
    fn get(self, name: &str) -> Taken<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null()).ok_or_else(|| FieldError::missing(name))
    }

    pub(super) fn text(self, name: &str) -> Taken<String> {
        let value = self.get(name)?;
        value.as_str().map(String::from).ok_or_else(|| FieldError::mismatch(name, "a text", kind(value)))
    }

    /// An absent field is an empty text.
    pub(super) fn optional_text(self, name: &str) -> Taken<String> {
        if self.0.get(name).is_none_or(Value::is_null) { Ok(String::new()) } else { self.text(name) }
    }

    /// The first of several names that the row has.
    pub(super) fn first_text(self, names: &[&str]) -> Taken<String> {
        let name = names.iter().find(|name| self.0.contains_key(**name)).or(names.first());
        self.text(name.copied().unwrap_or_default())
    }

    pub(super) fn number(self, name: &str) -> Taken<f64> {
        let value = self.get(name)?;
        // Sheets hold numbers as texts.
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.ok_or_else(|| FieldError::mismatch(name, "a number", kind(value)))
    }

    pub(super) fn id(self, name: &str) -> Taken<String> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else { return Ok(String::new()) };
        whole_number(value).ok_or_else(|| FieldError::mismatch(name, "a text or a whole number", kind(value)))
    }

    pub(super) fn list(self, name: &str) -> Taken<&'a [Value]> {
        let value = self.get(name)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| FieldError::mismatch(name, "a list", kind(value)))
    }

    pub(super) fn object(self, name: &str) -> Taken<&'a Row> {
        let value = self.get(name)?;
        value.as_object().ok_or_else(|| FieldError::mismatch(name, "an object", kind(value)))
    }

    pub(super) fn parsed<T: DeserializeOwned>(self, name: &str, value: &Value, expected: &str) -> Taken<T> {
        serde_json::from_value(value.clone()).map_err(|error| FieldError::mismatch(name, expected, &error.to_string()))
    }

    /// A complete preference set.
    pub(super) fn preference_set(self, name: &str, value: &Value) -> Taken<PreferenceSet> {
        let expected = "four preferences, one of each dimension";
        let set: PreferenceSet = self.parsed(name, value, expected)?;
        set.complete().map_err(|error| FieldError::mismatch(name, expected, &error.to_string()))?;
        Ok(set)
    }

    /// A list of messages, in either spelling. A sheet's cell may hold it as JSON.
    pub(super) fn messages(self, name: &str) -> Taken<Vec<Message>> {
        let parsed: Value;
        let list = match self.get(name)? {
            Value::String(cell) => {
                parsed = serde_json::from_str(cell).map_err(|_| FieldError::mismatch(name, "a list of messages", "a text"))?;
                parsed.as_array().ok_or_else(|| FieldError::mismatch(name, "a list of messages", kind(&parsed)))?
            }
            value => value.as_array().ok_or_else(|| FieldError::mismatch(name, "a list of messages", kind(value)))?,
        };
        list.iter().enumerate().map(|(at, value)| message(value, &format!("{name}[{at}]"))).collect()
    }

    /// A single message.
    pub(super) fn message(self, name: &str) -> Taken<Message> {
        match self.get(name)? {
            // Some writers give the answer's text alone.
            Value::String(text) => Ok(Message::assistant(text.clone())),
            value => message(value, name),
        }
    }

    /// Earlier turns: `[[asked, answered], …]`.
    pub(super) fn history(self, name: &str) -> Taken<Vec<Message>> {
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
                _ => return Err(FieldError::mismatch(&place, "two texts", kind(turn))),
            }
        }
        Ok(messages)
    }

    /// The better and the worse of `text` [2] by `score` [2]; none for a tie.
    pub(super) fn scored(self) -> Taken<Option<(String, String)>> {
        let ([Value::String(first), Value::String(second)], [one, other]) = (self.list("text")?, self.list("score")?) else {
            return Err(FieldError::mismatch("text", "two texts with two scores", "something else"));
        };
        let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) else {
            return Err(FieldError::mismatch("score", "two numbers", "something else"));
        };
        Ok(match one.total_cmp(&other) {
            std::cmp::Ordering::Greater => Some((first.clone(), second.clone())),
            std::cmp::Ordering::Less => Some((second.clone(), first.clone())),
            std::cmp::Ordering::Equal => None,
        })
    }
}

/// `{role, content}` or `{from, value}`, with the roles' names in use.
fn message(value: &Value, place: &str) -> Taken<Message> {
    let Some(object) = value.as_object() else { return Err(FieldError::mismatch(place, "a message", kind(value))) };
    let fields = Fields(object);
    let (role_name, content_name) = if object.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let named = fields.text(role_name).map_err(|error| error.within(place))?;
    let role = match named.as_str() {
        "system" => Role::System,
        "user" | "human" | "prompter" => Role::User,
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Role::Assistant,
        other => return Err(FieldError::mismatch(&format!("{place}.{role_name}"), "system, user or assistant", other)),
    };
    Ok(Message { role, content: fields.text(content_name).map_err(|error| error.within(place))? })
}
