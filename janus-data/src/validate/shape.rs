//! The fields of each kind of record, and the shapes of their values.

use janus_core::Dimension;
use serde_json::Value;

use super::RecordKind;
use crate::Row;

/// A field: its name and older names, whether it is required, and the shape of its value.
pub(super) struct Field {
    pub(super) names: &'static [&'static str],
    pub(super) required: bool,
    pub(super) shape: Shape,
}

/// The shape of a value.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// A text that is not empty.
    NonEmptyText,
    Id,
    Messages,
    Preferences,
    Rubrics,
}

const fn field(names: &'static [&'static str], required: bool, shape: Shape) -> Field {
    Field { names, required, shape }
}

const SFT: &[Field] = &[
    field(&["main_source"], false, Shape::Text),
    field(&["original_source"], false, Shape::Text),
    field(&["preference_set"], false, Shape::Preferences),
    field(&["system"], true, Shape::Text),
    field(&["prompt", "instruction"], true, Shape::NonEmptyText),
    field(&["output"], true, Shape::NonEmptyText),
];
const PAIRS: &[Field] = &[
    field(&["main_source"], false, Shape::Text),
    field(&["original_source"], false, Shape::Text),
    field(&["system"], true, Shape::Text),
    field(&["prompt", "instruction"], true, Shape::NonEmptyText),
    field(&["chosen"], true, Shape::Messages),
    field(&["rejected"], true, Shape::Messages),
];
const REWARD: &[Field] = &[
    field(&["history"], false, Shape::Messages),
    field(&["input"], true, Shape::NonEmptyText),
    field(&["chosen"], true, Shape::NonEmptyText),
    field(&["rejected"], true, Shape::NonEmptyText),
];
const BENCH: &[Field] = &[
    field(&["id"], false, Shape::Id),
    field(&["source", "original_source"], true, Shape::Text),
    field(&["preference_set"], false, Shape::Preferences),
    field(&["system", "system_prompt"], true, Shape::Text),
    field(&["prompt", "user_prompt", "instruction"], true, Shape::NonEmptyText),
    field(&["reference_answer"], true, Shape::NonEmptyText),
    field(&["rubrics", "rubric"], true, Shape::Rubrics),
];

/// The fields of a kind, in the order of the released files.
pub(super) fn fields(kind: RecordKind) -> &'static [Field] {
    match kind {
        RecordKind::Sft => SFT,
        RecordKind::Pairs => PAIRS,
        RecordKind::Reward => REWARD,
        RecordKind::Bench => BENCH,
    }
}

/// Called with a field, what was expected, and what was found.
type Report<'a> = &'a mut dyn FnMut(&str, &str, &str);

impl Shape {
    pub(super) fn expected(self) -> &'static str {
        match self {
            Shape::Text => "a string",
            Shape::NonEmptyText => "a string that is not empty",
            Shape::Id => "a string or a whole number",
            Shape::Messages => "a list of messages {role, content}",
            Shape::Preferences => {
                "a list of four preferences {dimension, subdimension, preference, description}"
            }
            Shape::Rubrics => "a list of rubrics {criteria, score_descriptions}",
        }
    }

    pub(super) fn check(self, value: &Value, name: &str, report: Report<'_>) {
        match (self, value) {
            (Shape::Text, Value::String(_)) => {}
            (Shape::NonEmptyText, Value::String(text)) => {
                if text.trim().is_empty() {
                    report(name, self.expected(), "an empty text");
                }
            }
            (Shape::Id, Value::String(_)) => {}
            (Shape::Id, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
            // The cell of a spreadsheet contains a list as JSON.
            (Shape::Messages | Shape::Preferences | Shape::Rubrics, Value::String(cell)) => {
                match serde_json::from_str::<Value>(cell) {
                    Ok(value) if value.is_array() => self.check(&value, name, report),
                    _ => report(name, self.expected(), "a string"),
                }
            }
            (Shape::Messages, Value::Array(list)) => each(list, name, report, message),
            (Shape::Preferences, Value::Array(list)) => {
                each(list, name, report, preference);
                for dimension in Dimension::ALL {
                    let count = list
                        .iter()
                        .filter(|p| p["dimension"].as_str().is_some_and(|name| name.parse() == Ok(dimension)))
                        .count();
                    if count != 1 {
                        report(name, &format!("one {dimension} preference"), &format!("{count}"));
                    }
                }
            }
            (Shape::Rubrics, Value::Array(list)) => each(list, name, report, rubric),
            (shape, value) => report(name, shape.expected(), kind(value)),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn each(list: &[Value], name: &str, report: Report<'_>, check: fn(&Row, &str, Report<'_>)) {
    for (at, value) in list.iter().enumerate() {
        let path = format!("{name}[{at}]");
        match value {
            Value::Object(object) => check(object, &path, report),
            other => report(&path, "an object", kind(other)),
        }
    }
}

fn text(object: &Row, field: &str, path: &str, empty: bool, report: Report<'_>) {
    let shape = if empty { Shape::Text } else { Shape::NonEmptyText };
    shape.check(object.get(field).unwrap_or(&Value::Null), &format!("{path}.{field}"), report);
}

fn message(object: &Row, path: &str, report: Report<'_>) {
    match object.get("role").and_then(Value::as_str) {
        Some("system" | "user" | "assistant") => {}
        Some(other) => report(&format!("{path}.role"), "system, user or assistant", &format!("\"{other}\"")),
        None => report(
            &format!("{path}.role"),
            "system, user or assistant",
            kind(object.get("role").unwrap_or(&Value::Null)),
        ),
    }
    text(object, "content", path, true, report);
}

fn preference(object: &Row, path: &str, report: Report<'_>) {
    match object.get("dimension").and_then(Value::as_str) {
        Some(name) if name.parse::<Dimension>().is_ok() => {}
        Some(other) => {
            report(
                &format!("{path}.dimension"),
                "style, background_knowledge, informativeness or harmlessness",
                &format!("\"{other}\""),
            );
        }
        None => report(
            &format!("{path}.dimension"),
            "a dimension",
            kind(object.get("dimension").unwrap_or(&Value::Null)),
        ),
    }
    text(object, "subdimension", path, false, report);
    text(object, "preference", path, false, report);
    text(object, "description", path, true, report);
}

fn rubric(object: &Row, path: &str, report: Report<'_>) {
    text(object, "criteria", path, false, report);
    let path = format!("{path}.score_descriptions");
    match object.get("score_descriptions") {
        Some(Value::Object(anchors)) => {
            for score in ["1", "2", "3", "4", "5"] {
                text(anchors, score, &path, false, report);
            }
            for other in anchors.keys().filter(|key| !["1", "2", "3", "4", "5"].contains(&key.as_str())) {
                report(&format!("{path}.{other}"), "only the scores 1 to 5", "another key");
            }
        }
        other => report(&path, "an object of the scores 1 to 5", kind(other.unwrap_or(&Value::Null))),
    }
}

/// Checks the rules that relate several fields of a row.
pub(super) fn rules(kind: RecordKind, row: &Row, report: Report<'_>) {
    match kind {
        RecordKind::Pairs | RecordKind::Reward => {
            if row
                .get("chosen")
                .is_some_and(|chosen| !chosen.is_null() && row.get("rejected") == Some(chosen))
            {
                report("rejected", "a response other than `chosen`", "the same");
            }
            for name in ["chosen", "rejected"] {
                let Some(messages) = row.get(name).and_then(Value::as_array) else { continue };
                let role = messages.last().map(|last| last["role"].as_str().unwrap_or("another role"));
                if role != Some("assistant") {
                    report(name, "an assistant's message at the end", role.unwrap_or("no message"));
                }
            }
        }
        RecordKind::Bench => {
            let rubrics = row.get("rubrics").or_else(|| row.get("rubric")).and_then(Value::as_array);
            if rubrics.is_some_and(Vec::is_empty) {
                report("rubrics", "at least one rubric", "none");
            }
            let preferences = row.get("preference_set").and_then(Value::as_array);
            if let (Some(rubrics), Some(preferences)) = (rubrics, preferences)
                && rubrics.len() != preferences.len()
            {
                report(
                    "rubrics",
                    &format!("one rubric for each of {} preferences", preferences.len()),
                    &rubrics.len().to_string(),
                );
            }
        }
        RecordKind::Sft => {}
    }
}
