//! The fields of OpenAI, vLLM, SGLang, llama.cpp and Ollama that would change an answer and that the server does not support.

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::{read, refuse};
use crate::server::error::ApiError;

/// The fields of both endpoints, each with the value that changes nothing; null, `[]` and `{}` never do.
const BOTH: &[(&str, &str)] = &[
    ("add_special_tokens", "null"),
    ("allowed_token_ids", "null"),
    ("bad_words", "null"),
    ("ebnf", "null"),
    ("format", "null"),
    ("grammar", "null"),
    ("guided_choice", "null"),
    ("guided_grammar", "null"),
    ("guided_json", "null"),
    ("guided_regex", "null"),
    ("json_schema", "null"),
    ("include_stop_str_in_output", "false"),
    ("length_penalty", "1"),
    ("logits_processors", "null"),
    ("logprob_token_ids", "null"),
    ("num_predict", "null"),
    ("options", "null"),
    ("prompt_logprobs", "null"),
    ("regex", "null"),
    ("repeat_penalty", "1"),
    ("repetition_detection", "null"),
    ("return_token_ids", "false"),
    ("return_tokens_as_token_ids", "false"),
    ("skip_special_tokens", "true"),
    ("spaces_between_special_tokens", "true"),
    ("structured_outputs", "null"),
    ("truncate_prompt_tokens", "null"),
    ("use_beam_search", "false"),
    ("vllm_xargs", "null"),
];

const CHAT: &[(&str, &str)] = &[
    ("audio", "null"),
    ("chat_template", "null"),
    ("chat_template_kwargs", "null"),
    ("documents", "null"),
    ("echo", "false"),
    ("function_call", "\"none\""),
    ("functions", "null"),
    ("modalities", "[\"text\"]"),
    ("reasoning_effort", "\"none\""),
    ("response_format", "{\"type\": \"text\"}"),
    ("thinking_token_budget", "null"),
    ("tools", "null"),
    ("verbosity", "\"medium\""),
    ("web_search_options", "null"),
];

const COMPLETION: &[(&str, &str)] =
    &[("prompt_embeds", "null"), ("response_format", "{\"type\": \"text\"}"), ("suffix", "\"\"")];

/// Refuses a chat that uses a field of these tables.
pub(super) fn refuse_in_chat(body: &[u8]) -> Result<(), ApiError> {
    refuse_all(body, &[BOTH, CHAT])
}

/// Refuses a completion that uses a field of these tables.
pub(super) fn refuse_in_completion(body: &[u8]) -> Result<(), ApiError> {
    refuse_all(body, &[BOTH, COMPLETION])
}

fn refuse_all(body: &[u8], tables: &[&[(&str, &str)]]) -> Result<(), ApiError> {
    let fields: Map<String, Value> = read(body)?;
    for (name, neutral) in tables.iter().copied().flatten() {
        if let Some(value) = fields.get(*name) {
            let neutral: Value = serde_json::from_str(neutral)
                .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
            refuse(name, !changes_nothing(value, &neutral))?;
        }
    }
    Ok(())
}

fn changes_nothing(value: &Value, neutral: &Value) -> bool {
    is_empty(value)
        || value == neutral
        || value.as_f64().is_some_and(|number| neutral.as_f64() == Some(number))
}

/// Whether a value is null, `[]` or `{}`.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_refused_unless_it_changes_nothing() {
        for (name, neutral) in [BOTH, CHAT, COMPLETION].into_iter().flatten() {
            let neutral: Value = serde_json::from_str(neutral).unwrap();
            let tables = [BOTH, CHAT, COMPLETION];
            let with = |value: &Value| {
                refuse_all(serde_json::json!({ *name: value }).to_string().as_bytes(), &tables)
            };
            for value in [&neutral, &Value::Null, &serde_json::json!([]), &serde_json::json!({})] {
                with(value).unwrap();
            }
            let error = with(&serde_json::json!("something")).unwrap_err();
            assert!(format!("{error:?}").contains(&format!("{name} is not supported")), "{error:?}");
        }
        refuse_in_chat(br#"{"length_penalty": 1.0}"#).unwrap();
        refuse_in_chat(br#"{"length_penalty": 1.5}"#).unwrap_err();
    }
}
