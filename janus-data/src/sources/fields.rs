//! Access to the fields of a row, with errors that name the field.

use std::borrow::Cow;

use janus_core::{Message, PreferenceSet, Role};
use serde_json::Value;

use super::RowError;
use super::unread::{Seen, is_empty};
use crate::{Problem, Row};

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
pub struct Fields<'a> {
    row: &'a Row,
    seen: Option<&'a Seen>,
}

impl<'a> Fields<'a> {
    /// The fields of a row.
    pub fn new(row: &'a Row) -> Self {
        Self { row, seen: None }
    }

    /// The fields of a row; `seen` learns which of them are read.
    pub(super) fn seen(row: &'a Row, seen: &'a Seen) -> Self {
        Self { row, seen: Some(seen) }
    }

    /// The value of a field.
    pub fn value(self, name: &str) -> Option<&'a Value> {
        if let Some(seen) = self.seen {
            seen.read(self.row, name);
        }
        self.row.get(name)
    }

    /// Whether the row has a field that is neither null nor an empty text, as in the cell of a table. The
    /// field does not count as read.
    pub fn contains(self, name: &str) -> bool {
        self.row.get(name).is_some_and(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// The text of a field that is not the JSON of messages. The field does not count as read.
    pub(super) fn unread_text(self, name: &str) -> Option<&'a str> {
        self.row.get(name)?.as_str().filter(|text| messages_in(text).is_none())
    }

    /// Whether a field is a list, or the JSON of messages. The field does not count as read.
    pub(super) fn is_messages(self, name: &str) -> bool {
        let list = |text: &str| messages_in(text).is_some();
        self.row.get(name).is_some_and(|value| value.is_array() || value.as_str().is_some_and(list))
    }

    fn get(self, name: &str) -> Result<&'a Value, RowError> {
        self.value(name).filter(|value| !value.is_null()).ok_or_else(|| RowError::missing(name))
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
        if self.row.get(name).is_none_or(Value::is_null) { Ok(String::new()) } else { self.text(name) }
    }

    /// The text under the first of several names that the row has.
    ///
    /// # Errors
    /// [`RowError`] if it has none of them, or the field has another type.
    pub fn first_text(self, names: &[&str]) -> Result<String, RowError> {
        let name = names.iter().find(|name| self.row.contains_key(**name)).or(names.first());
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
        let Some(value) = self.value(name).filter(|value| !value.is_null()) else { return Ok(String::new()) };
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
                let list = serde_json::from_str(cell).map_err(|_| not_json(name, "a list", cell))?;
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
                let object = serde_json::from_str(cell).map_err(|_| not_json(name, "an object", cell))?;
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
                let list: Vec<Value> =
                    serde_json::from_str(cell).map_err(|_| not_json(name, "a list of messages", cell))?;
                self.list_of_messages(&list, name)
            }
            Value::Array(list) => self.list_of_messages(list, name),
            value => Err(RowError::mismatch(name, "a list of messages", kind(value))),
        }
    }

    fn list_of_messages(self, list: &[Value], name: &str) -> Result<Vec<Message>, RowError> {
        let unread = format!("{name}[]");
        let message = |(at, value)| self.one_message(value, &format!("{name}[{at}]"), &unread);
        list.iter().enumerate().map(message).collect()
    }

    /// Reads a message and records its fields that are not read, below the name `unread`.
    fn one_message(self, value: &Value, path: &str, unread: &str) -> Result<Message, RowError> {
        let (message, others) = message(value, path)?;
        if let Some(seen) = self.seen {
            others.iter().for_each(|field| seen.unread_in_messages(format!("{unread}.{field}")));
        }
        Ok(message)
    }

    /// The indices of the assistant's messages of a list that carry no loss: those with `weight` 0, or with
    /// `train`, `training` or `loss` false.
    ///
    /// # Errors
    /// [`RowError`] for a weight that is neither 0 nor 1, or that gives loss to a message that is not the
    /// assistant's.
    pub fn without_loss(self, name: &str) -> Result<Vec<usize>, RowError> {
        let mut without_loss = Vec::new();
        for (at, (value, message)) in self.list(name)?.iter().zip(self.messages(name)?).enumerate() {
            let error = |key, problem| RowError { field: format!("{name}[{at}].{key}"), problem };
            let mut carries_loss = None;
            for key in LOSS_KEYS {
                let carries = match (key, value.get(key)) {
                    (_, None | Some(Value::Null)) => continue,
                    ("weight", Some(Value::Number(weight))) if weight.as_f64() == Some(0.0) => false,
                    ("weight", Some(Value::Number(weight))) if weight.as_f64() == Some(1.0) => true,
                    ("train" | "training" | "loss", Some(Value::Bool(carries))) => *carries,
                    (_, Some(got)) => {
                        let expected = if key == "weight" { "0 or 1" } else { "true or false" }.into();
                        return Err(error(key, Problem::Mismatch { expected, got: got.to_string() }));
                    }
                };
                if carries && message.role != Role::Assistant {
                    let problem = "only an assistant's message can be in the loss";
                    return Err(error(key, Problem::Rule(problem.into())));
                }
                if carries_loss.replace(carries).is_some_and(|other| other != carries) {
                    return Err(error(
                        key,
                        Problem::Rule("another key of the message says the opposite".into()),
                    ));
                }
            }
            if message.role == Role::Assistant && carries_loss == Some(false) {
                without_loss.push(at);
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
                if is_python(text) {
                    return Err(not_json(name, "a string or a list of messages", text));
                }
                Ok(vec![Message { role, content: text.clone() }])
            }
            Value::String(_) | Value::Array(_) => self.messages(name),
            value => Err(RowError::mismatch(name, "a string or a list of messages", kind(value))),
        }
    }

    /// An answer: a text, or a message of the assistant.
    ///
    /// # Errors
    /// [`RowError`] if the field is missing or not such a message.
    pub fn answer(self, name: &str) -> Result<String, RowError> {
        let in_cell: Value;
        let value = match self.get(name)? {
            // The cell of a spreadsheet has the message as JSON.
            Value::String(text) => match serde_json::from_str(text).ok().filter(is_message) {
                Some(value) => {
                    in_cell = value;
                    &in_cell
                }
                None if is_python(text) => return Err(not_json(name, "a string or a message", text)),
                None => return Ok(text.clone()),
            },
            value => value,
        };
        let message = self.one_message(value, name, name)?;
        match message.role {
            Role::Assistant => Ok(message.content),
            other => Err(RowError::mismatch(name, "a message of the assistant", other.as_str())),
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
    serde_json::from_str(text)
        .ok()
        .filter(|list: &Vec<Value>| !list.is_empty() && list.iter().all(is_message))
}

fn is_message(value: &Value) -> bool {
    [("role", "content"), ("from", "value")]
        .into_iter()
        .any(|(role, content)| value.get(role).is_some() && value.get(content).is_some())
}

/// Whether a text is a message, or a list of messages, as Python prints it: `[{'role': 'user', …}]`.
fn is_python(text: &str) -> bool {
    let text = text.trim_start().trim_start_matches("array(").trim_start_matches(['[', ' ', '\n']);
    ["role", "content", "from", "value"].iter().any(|key| {
        text.strip_prefix("{'")
            .and_then(|text| text.strip_prefix(key))
            .is_some_and(|text| text.starts_with("':"))
    })
}

/// The error of a cell that is not the JSON of what is expected.
fn not_json(name: &str, expected: &str, cell: &str) -> RowError {
    if is_python(cell) {
        let problem =
            "a list as Python prints it, which is not JSON: write the table as JSON lines or Parquet";
        return RowError::rule(name, problem);
    }
    RowError::mismatch(name, expected, "a string")
}

/// Keys of a message that say whether it carries loss.
const LOSS_KEYS: [&str; 4] = ["weight", "train", "training", "loss"];

/// Reads `{role, content}` or `{from, value}`, with the usual names of roles. The content is a text, or a
/// list of parts that are all texts. Also returns the names of the other fields that have a value.
fn message<'v>(value: &'v Value, path: &str) -> Result<(Message, Vec<&'v str>), RowError> {
    let Some(object) = value.as_object() else {
        return Err(RowError::mismatch(path, "a message", kind(value)));
    };
    let fields = Fields::new(object);
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
    let mut others = Vec::new();
    for (name, _) in object.iter().filter(|(_, value)| !is_empty(value)) {
        let problem = match name.as_str() {
            "tool_calls" | "function_call" => "calls of tools cannot be trained",
            "reasoning_content" | "reasoning" | "thinking" => {
                "reasoning beside the content cannot be trained: write it into the content, or remove the field"
            }
            "train_detail" => "parts of a message cannot have a loss of their own: split the message",
            name => {
                if ![role_name, content_name].contains(&name) && !LOSS_KEYS.contains(&name) {
                    others.push(name);
                }
                continue;
            }
        };
        return Err(RowError::rule(format!("{path}.{name}"), problem));
    }
    let content = match fields.value(content_name) {
        Some(Value::Array(parts)) => parts_text(parts, &format!("{path}.{content_name}"))?,
        _ => fields.text(content_name).map_err(|error| error.within(path))?,
    };
    Ok((Message { role, content }, others))
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
