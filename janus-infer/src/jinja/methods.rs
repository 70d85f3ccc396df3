//! Python's methods of strings, lists and dicts.

use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Calls a method that the engine does not know: those of minijinja's compatibility layer, and a few of
/// strings that it lacks.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) if matches!(method, "rsplit" | "removeprefix" | "removesuffix") => {
            of_string(text, method, arguments)
        }
        _ => unknown_method_callback(state, value, method, arguments),
    }
}

fn of_string(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let wrong = || {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("{method}: the arguments are not those of Python's method"),
        )
    };
    let affix = || match arguments {
        [affix] => affix.as_str().ok_or_else(wrong),
        _ => Err(wrong()),
    };
    match method {
        "removeprefix" => Ok(text.strip_prefix(affix()?).unwrap_or(text).into()),
        "removesuffix" => Ok(text.strip_suffix(affix()?).unwrap_or(text).into()),
        _ => {
            let (separator, most) = match arguments {
                [] => (None, None),
                [separator] => (separator.as_str(), None),
                [separator, most] => {
                    (separator.as_str(), Some(i64::try_from(most.clone()).map_err(|_| wrong())?))
                }
                _ => return Err(wrong()),
            };
            // As in Python, a negative limit means no limit.
            let most = most
                .and_then(|most| usize::try_from(most).ok())
                .map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = match separator {
                Some("") => {
                    return Err(Error::new(ErrorKind::InvalidOperation, "rsplit: the separator is empty"));
                }
                Some(separator) => text.rsplitn(most, separator).collect(),
                None => by_white_space(text, most),
            };
            parts.reverse();
            Ok(Value::from_iter(parts))
        }
    }
}

/// At most `most` parts from the end, split at runs of white space.
fn by_white_space(text: &str, most: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let at = if parts.len() + 1 == most { None } else { rest.rfind(char::is_whitespace) };
        let (before, part) = at.map_or(("", rest), |at| rest.split_at(at));
        parts.push(part.trim_start());
        rest = before.trim_end();
    }
    parts
}

#[cfg(test)]
mod tests {
    use janus_core::Message;

    use crate::JinjaTemplate;

    #[test]
    fn strings_have_the_methods_of_python() {
        let rendered = |expression: &str| {
            JinjaTemplate::new(format!("{{{{ {expression} }}}}"))
                .unwrap()
                .render(&[Message::user("u")])
                .unwrap_or_else(|error| error.to_string())
        };
        // The results are those of Python 3.
        for (expression, expected) in [
            ("'a,b,c'.rsplit(',') | join('|')", "a|b|c"),
            ("'a,b,c'.rsplit(',', 1) | join('|')", "a,b|c"),
            ("'a,b,c'.rsplit(',', -1) | join('|')", "a|b|c"),
            ("' a  b c '.rsplit() | join('|')", "a|b|c"),
            ("' a  b c '.rsplit(none, 1) | join('|')", "a  b|c"),
            ("'</think>x'.removeprefix('</think>')", "x"),
            ("'x'.removeprefix('y')", "x"),
            ("'x.gguf'.removesuffix('.gguf')", "x"),
            ("'a,b'.split(',') | join('|')", "a|b"),
            (
                "{'b': 1, 'a': {'d': 1, 'c': 2}} | tojson(sort_keys=true)",
                r#"{"a": {"c": 2, "d": 1}, "b": 1}"#,
            ),
            ("'text' is sequence", "True"),
            ("[1] is sequence", "True"),
            ("3 is sequence", "False"),
        ] {
            assert_eq!(rendered(expression), expected, "{expression}");
        }
    }
}
