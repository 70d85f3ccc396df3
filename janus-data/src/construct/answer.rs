//! Values out of what a model wrote; mended only where there is one way to.

use serde_json::Value;

/// The one JSON value of an answer. Prose and a code fence around it are passed over; a comma before a closing bracket
/// and a line break inside a text are mended. Anything that could be read in two ways is refused, in a sentence that
/// the model is told.
pub(super) fn json(text: &str) -> Result<Value, String> {
    let text = text.trim();
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

/// The value at the start of a text, mended, and what follows it.
fn take(text: &str) -> Result<(Value, &str), String> {
    let mut mended = String::with_capacity(text.len());
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, sign) in text.char_indices() {
        if quoted {
            match sign {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
            match sign {
                '\n' => mended.push_str("\\n"),
                '\t' => mended.push_str("\\t"),
                '\r' => {}
                _ => mended.push(sign),
            }
            continue;
        }
        match sign {
            '"' => quoted = true,
            '[' | '{' => depth += 1,
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                let end = mended.trim_end().len();
                if mended[..end].ends_with(',') {
                    mended.truncate(end - 1);
                }
            }
            _ => {}
        }
        mended.push(sign);
        if depth == 0 {
            let value = serde_json::from_str(&mended).map_err(|_| "its JSON is broken".to_string())?;
            return Ok((value, &text[at + sign.len_utf8()..]));
        }
    }
    Err("its JSON is cut off".into())
}

/// A text without the quotes, the fence or the heading that models put around it.
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
    fn what_has_one_reading_is_read() {
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
    fn what_has_several_or_none_is_told() {
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
    fn quotes_and_fences_are_no_text() {
        assert_eq!(text("```\nBe kind.\n```"), "Be kind.");
        assert_eq!(text(" \"Be kind.\" "), "Be kind.");
        assert_eq!(text("\"Be\" and \"kind\""), "\"Be\" and \"kind\"");
    }
}
