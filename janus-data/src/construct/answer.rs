//! Reads values from the answers of a model. Defects are repaired only where the repair is unambiguous.

use janus_core::without_reasoning;
use serde_json::Value;

/// The only JSON value of an answer. Reasoning before it, and prose and a code fence around it, are skipped;
/// a comma before a closing bracket and a line break inside a string are repaired. Anything ambiguous is an
/// error.
///
/// The error is shown to the model in a correction, and so is part of journal keys: its text must not change.
pub(super) fn json(text: &str) -> Result<Value, String> {
    let text = without_reasoning(text).trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let Some(start) = text.find(['[', '{']) else { return Err("it holds no JSON".into()) };
    let (value, rest) = take(&text[start..])?;
    if let Some(next) = rest.find(['[', '{'])
        && take(&rest[next..]).is_ok()
    {
        return Err("it holds more than one JSON value".into());
    }
    Ok(value)
}

/// The value at the start of a text, repaired, and the rest of the text.
fn take(text: &str) -> Result<(Value, &str), String> {
    let mut repaired = String::with_capacity(text.len());
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, character) in text.char_indices() {
        if quoted {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
            match character {
                '\n' => repaired.push_str("\\n"),
                '\t' => repaired.push_str("\\t"),
                '\r' => {}
                _ => repaired.push(character),
            }
            continue;
        }
        match character {
            '"' => quoted = true,
            '[' | '{' => depth += 1,
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                let end = repaired.trim_end().len();
                if repaired[..end].ends_with(',') {
                    repaired.truncate(end - 1);
                }
            }
            _ => {}
        }
        repaired.push(character);
        if depth == 0 {
            let value = serde_json::from_str(&repaired).map_err(|_| "its JSON is broken".to_string())?;
            return Ok((value, &text[at + character.len_utf8()..]));
        }
    }
    Err("its JSON is cut off".into())
}

/// A text without the quotes or the code fence that models put around it.
pub(super) fn text(text: &str) -> &str {
    let mut text = text.trim();
    if let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"))
        && let Some((_, inner)) = inner.split_once('\n')
    {
        text = inner.trim();
    }
    if let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'))
        && !inner.contains('"')
    {
        text = inner.trim();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unambiguous_answer_is_read() {
        for text in [
            r#"[{"a": "x"}]"#,
            "```json\n[{\"a\": \"x\"}]\n```",
            "Sure! Here it is:\n[{\"a\": \"x\"},]\nI hope that helps.",
            "[{\"a\": \"x\",\n}]",
        ] {
            assert_eq!(json(text).unwrap(), serde_json::json!([{"a": "x"}]), "{text}");
        }
        assert_eq!(json("{\"a\": \"x\ny, ]\"}").unwrap(), serde_json::json!({"a": "x\ny, ]"}));
    }

    #[test]
    fn an_ambiguous_or_broken_answer_is_described() {
        for (text, problem) in [
            ("No.", "it holds no JSON"),
            ("[{\"a\": \"x", "its JSON is cut off"),
            ("[{\"a\": x}]", "its JSON is broken"),
            ("[1] or [2]", "it holds more than one JSON value"),
            ("[1] [", ""),
        ] {
            assert_eq!(json(text).err().unwrap_or_default(), problem, "{text}");
        }
    }

    #[test]
    fn quotes_and_fences_around_a_text_are_removed() {
        assert_eq!(text("```\nBe kind.\n```"), "Be kind.");
        assert_eq!(text(" \"Be kind.\" "), "Be kind.");
        assert_eq!(text("\"Be\" and \"kind\""), "\"Be\" and \"kind\"");
    }
}
