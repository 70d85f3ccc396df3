//! Access to the fields of a row, with errors that name the field.

use std::borrow::Cow;
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
        Self {
            field: field.into(),
            problem: Problem::Mismatch { expected: expected.into(), got: got.into() },
        }
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
        Value::String(_) => "a string",
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

    /// Whether the row has a field that is neither null nor an empty text, as in the cell of a table.
    pub fn contains(self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null() && value.as_str() != Some(""))
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
        value.as_str().map(String::from).ok_or_else(|| RowError::mismatch(name, "a string", kind(value)))
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
        whole_number(value).ok_or_else(|| RowError::mismatch(name, "a string or a whole number", kind(value)))
    }

    /// A list. The cell of a spreadsheet may contain it as JSON.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or has another type.
    pub fn list(self, name: &str) -> Result<Cow<'a, [Value]>, RowError> {
        match self.get(name)? {
            Value::Array(list) => Ok(Cow::Borrowed(list)),
            Value::String(cell) => {
                let list =
                    serde_json::from_str(cell).map_err(|_| RowError::mismatch(name, "a list", "a string"))?;
                Ok(Cow::Owned(list))
            }
            value => Err(RowError::mismatch(name, "a list", kind(value))),
        }
    }

    /// An object. The cell of a spreadsheet may contain it as JSON. [`Fields::new`] reads its fields.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or has another type.
    pub fn object(self, name: &str) -> Result<Cow<'a, Row>, RowError> {
        match self.get(name)? {
            Value::Object(object) => Ok(Cow::Borrowed(object)),
            Value::String(cell) => {
                let object = serde_json::from_str(cell)
                    .map_err(|_| RowError::mismatch(name, "an object", "a string"))?;
                Ok(Cow::Owned(object))
            }
            value => Err(RowError::mismatch(name, "an object", kind(value))),
        }
    }

    /// A complete preference set, if the row has one.
    pub(super) fn preference_set(self, name: &str) -> Result<Option<PreferenceSet>, RowError> {
        if !self.contains(name) {
            return Ok(None);
        }
        let value = Value::Array(self.list(name)?.into_owned());
        let wrong =
            |problem: String| RowError::mismatch(name, "four preferences, one of each dimension", problem);
        let set: PreferenceSet = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        set.complete().map_err(|error| wrong(error.to_string()))?;
        Ok(Some(set))
    }

    /// A list of messages `{role, content}` or `{from, value}`, with the usual names of roles. The cell of a
    /// spreadsheet may contain the list as JSON.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or an element is not a message.
    pub fn messages(self, name: &str) -> Result<Vec<Message>, RowError> {
        match self.get(name)? {
            Value::String(cell) => {
                let list: Vec<Value> = serde_json::from_str(cell)
                    .map_err(|_| RowError::mismatch(name, "a list of messages", "a string"))?;
                messages(&list, name)
            }
            Value::Array(list) => messages(list, name),
            value => Err(RowError::mismatch(name, "a list of messages", kind(value))),
        }
    }

    /// The indices of the assistant's messages of a list that carry no loss: those with `weight` 0 or `train`
    /// false.
    ///
    /// # Errors
    /// [`RowError`] for a weight that is neither 0 nor 1, or that gives loss to a message that is not the
    /// assistant's.
    pub fn without_loss(self, name: &str) -> Result<Vec<usize>, RowError> {
        let mut without_loss = Vec::new();
        for (at, (value, message)) in self.list(name)?.iter().zip(self.messages(name)?).enumerate() {
            let key =
                if value.get("weight").is_some_and(|weight| !weight.is_null()) { "weight" } else { "train" };
            let carries_loss = match value.get(key) {
                None | Some(Value::Null) => continue,
                Some(Value::Bool(train)) if key == "train" => *train,
                Some(Value::Number(weight)) if key == "weight" && weight.as_f64() == Some(0.0) => false,
                Some(Value::Number(weight)) if key == "weight" && weight.as_f64() == Some(1.0) => true,
                Some(other) => {
                    let expected = if key == "weight" { "0 or 1" } else { "true or false" };
                    return Err(RowError::mismatch(
                        format!("{name}[{at}].{key}"),
                        expected,
                        other.to_string(),
                    ));
                }
            };
            match (message.role, carries_loss) {
                (Role::Assistant, false) => without_loss.push(at),
                (Role::Assistant, true) | (_, false) => {}
                (_, true) => {
                    return Err(RowError::rule(
                        format!("{name}[{at}].{key}"),
                        "only an assistant's message can be in the loss",
                    ));
                }
            }
        }
        Ok(without_loss)
    }

    /// A list as [`messages`](Self::messages) reads it, or a text, which is one message of the given role.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or has another type.
    pub fn messages_or_text(self, name: &str, role: Role) -> Result<Vec<Message>, RowError> {
        match self.get(name)? {
            Value::String(text) if messages_in(text).is_none() => {
                Ok(vec![Message { role, content: text.clone() }])
            }
            Value::String(_) | Value::Array(_) => self.messages(name),
            value => Err(RowError::mismatch(name, "a string or a list of messages", kind(value))),
        }
    }

    /// One message; a plain text is the assistant's.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or not a message.
    pub fn message(self, name: &str) -> Result<Message, RowError> {
        match self.get(name)? {
            // The cell of a spreadsheet has the message as JSON; some writers store only the text of the
            // answer.
            Value::String(text) => match serde_json::from_str(text).ok().filter(is_message) {
                Some(value) => message(&value, name),
                None => Ok(Message::assistant(text.clone())),
            },
            value => message(value, name),
        }
    }

    /// Earlier turns, `[[user, assistant], …]`; an absent field gives none.
    ///
    /// # Errors
    /// [`RowError`] if a turn is not two texts.
    pub fn history(self, name: &str) -> Result<Vec<Message>, RowError> {
        if !self.contains(name) {
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
        let (texts, scores) = (self.list("text")?, self.list("score")?);
        let ([Value::String(first), Value::String(second)], [one, other]) = (&*texts, &*scores) else {
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

/// The list in a text that is the JSON of a list of messages.
fn messages_in(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok().filter(|list: &Vec<Value>| list.iter().all(is_message))
}

fn is_message(value: &Value) -> bool {
    [("role", "content"), ("from", "value")]
        .into_iter()
        .any(|(role, content)| value.get(role).is_some() && value.get(content).is_some())
}

fn messages(list: &[Value], name: &str) -> Result<Vec<Message>, RowError> {
    list.iter().enumerate().map(|(at, value)| message(value, &format!("{name}[{at}]"))).collect()
}

/// Reads `{role, content}` or `{from, value}`, with the usual names of roles. The content is a text, or a
/// list of parts that are all texts.
fn message(value: &Value, path: &str) -> Result<Message, RowError> {
    let Some(object) = value.as_object() else {
        return Err(RowError::mismatch(path, "a message", kind(value)));
    };
    let fields = Fields(object);
    let (role_name, content_name) =
        if object.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let named = fields.text(role_name).map_err(|error| error.within(path))?;
    let role = match named.as_str() {
        "system" | "developer" => Role::System,
        "user" | "human" | "prompter" => Role::User,
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Role::Assistant,
        other => {
            return Err(RowError::mismatch(
                format!("{path}.{role_name}"),
                "system, user or assistant",
                other,
            ));
        }
    };
    if let Some(name) = ["tool_calls", "function_call"]
        .into_iter()
        .find(|name| object.get(*name).is_some_and(|calls| !empty(calls)))
    {
        return Err(RowError::rule(format!("{path}.{name}"), "calls of tools cannot be trained"));
    }
    let content = match fields.value(content_name) {
        Some(Value::Array(parts)) => parts_text(parts, &format!("{path}.{content_name}"))?,
        _ => fields.text(content_name).map_err(|error| error.within(path))?,
    };
    Ok(Message { role, content })
}

/// Whether a value says nothing: null, or a list, an object or a text without content.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(empty),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// The texts of `[{type: "text", text}]`, joined.
fn parts_text(parts: &[Value], path: &str) -> Result<String, RowError> {
    let text = |(at, part): (usize, &Value)| match part.get("type").and_then(Value::as_str) {
        Some("text" | "input_text" | "output_text") => match part.get("text") {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(RowError::missing(format!("{path}[{at}].text"))),
        },
        other => Err(RowError::mismatch(format!("{path}[{at}].type"), "text", other.unwrap_or("none"))),
    };
    parts.iter().enumerate().map(text).collect()
}
